/* lbrt: runs binary, ternary and any-precision networks (`.lbm` files). C99; C++: runtime/lbrt.hpp.
 *
 * The way through it:
 *   1. lbrt_model_bytes says how much memory a model needs on this CPU; lbrt_model_open verifies
 *      the file and prepares it there. A model is read-only: any number of threads and sessions
 *      share it.
 *   2. lbrt_session_bytes, lbrt_session_create: one caller's activations, in the caller's memory.
 *   3. Write the inputs (lbrt_input), lbrt_run, read the outputs (lbrt_output).
 *
 * The library never allocates memory, prints, aborts or throws, and has no global state. There is
 * nothing to close: memory is the caller's, and whoever frees it ends the handle in it. The file
 * stays in use by its model, the model by its sessions.
 *
 * A file from anywhere may be opened: every number in it is checked first. Arguments are trusted as
 * far as C must (pointers); indices, sizes and alignment are checked.
 *
 * Structs begin with `struct_size`; set it to sizeof the struct, and all you do not use to 0. So
 * they can grow without breaking programs compiled against an older header. */
#ifndef LBRT_H_
#define LBRT_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* File, model and session memory must begin at a multiple of this (16 on any platform). */
#define LBRT_ALIGNMENT 16

typedef struct lbrt_model lbrt_model;     /* opaque */
typedef struct lbrt_session lbrt_session; /* opaque */

typedef enum lbrt_status {
  LBRT_OK = 0,
  LBRT_BAD_ARGUMENT = 1,  /* a null pointer, an index out of range, a struct_size of no version */
  LBRT_MISALIGNED = 2,    /* file or memory does not begin at a multiple of LBRT_ALIGNMENT */
  LBRT_NOT_A_MODEL = 3,   /* it does not begin as a .lbm file does */
  LBRT_BAD_VERSION = 4,   /* another version of the format */
  LBRT_NEEDS_FEATURE = 5, /* made for a newer (or larger) build of the library */
  LBRT_TRUNCATED = 6,     /* shorter than the file says of itself */
  LBRT_BAD_CHECKSUM = 7,  /* bytes differ from what was written */
  LBRT_BAD_MODEL = 8,     /* the table contradicts itself or the rules of the format */
  LBRT_UNKNOWN_ISA = 9,   /* no such instruction set here: see lbrt_isa_name */
  LBRT_TOO_LITTLE_MEMORY = 10, /* less than lbrt_model_bytes or lbrt_session_bytes asks for */
  LBRT_BAD_WIDTH = 11          /* the model cannot run at that many bits per weight */
} lbrt_status;

/* One sentence in English, without a full stop. */
const char* lbrt_status_text(lbrt_status status);

/* Why something was refused, in detail. `what` is a static sentence; all else is -1 or NULL where
 * it does not apply. */
typedef struct lbrt_error {
  size_t struct_size;
  const char* what;
  int32_t op;          /* position in the file of the op that was refused */
  const char* op_name; /* its name, in the file's memory; as untrusted as the file */
  int64_t expected, actual;
} lbrt_error;

/* Instruction sets (columns of kernels/kernels.h) this build has and this CPU can run, slowest
 * first: "scalar", ...; NULL from `index` = their number on. */
const char* lbrt_isa_name(size_t index);

/* ---- Models ---- */

typedef struct lbrt_model_options {
  size_t struct_size;
  const char* isa;        /* NULL = the environment variable LBRT_ISA, or else the best there is */
  int32_t skip_checksums; /* 1 = do not compare the segments' (they protect answers, not memory);
                             header and table are always verified */
  int32_t batch;          /* images per run; 0 = as in the file */
  int32_t height, width;  /* of input 0; 0 = as in the file */
  lbrt_error* error;      /* out, may be NULL */
  int32_t bits; /* of a model of several widths: the one to prepare, in bits per weight, or
                   LBRT_WIDEST; 0 = all, so that sessions can switch. Each takes memory. */
} lbrt_model_options;
#define LBRT_WIDEST (-1)

/* Models of several widths. An any-precision network's file holds a program for each width that it
 * was converted for, over shared planes of weights. A model prepares them all (or one: `bits`
 * above), and its sessions switch between any two runs (lbrt_set_width), which costs next to
 * nothing. Such a file may end behind any of its segments: it then has the widths whose weights are
 * there, and LBRT_TRUNCATED is what the others get (lbrt_info.width_file_bytes says where to cut).
 *
 * A model handle stands for one of the widths, lbrt_model_open's for the widest: ops, tensors and
 * some sizes are that width's. lbrt_model_at gives the others'. */

/* `options` may be NULL: all defaults. The file's memory must be readable as long as the model is
 * used, and must not change. */
lbrt_status lbrt_model_bytes(const void* file, size_t size, const lbrt_model_options* options,
                             size_t* bytes);
lbrt_status lbrt_model_open(const void* file, size_t size, const lbrt_model_options* options,
                            void* memory, size_t bytes, const lbrt_model** model);

typedef struct lbrt_info {
  size_t struct_size;
  uint32_t inputs, outputs, ops, tensors;
  uint32_t labels, notes, measurements;
  uint32_t width_count;
  const uint8_t* widths; /* bits per weight it can run at, as prepared, ascending */
  const char* isa;
  uint64_t features;        /* required-feature mask of the file */
  size_t weight_bytes;      /* of all segments of the file */
  size_t repacked_bytes;    /* weights copied into another order for this ISA, of all widths */
  size_t arena_bytes;       /* activations of one session */
  size_t arena_lower_bound; /* the largest number of bytes alive at once; no plan can need less */
  size_t scratch_bytes;     /* of one session, per thread */
  int32_t bits;             /* the width that this handle stands for */
  size_t width_repacked_bytes; /* of repacked_bytes, what this width uses; widths share some */
  size_t width_file_bytes;     /* the first so many bytes of the file are enough for this width */
  const uint8_t* file_widths;  /* all that the file was made for, prepared or not, ascending */
  uint32_t file_width_count;
} lbrt_info;
lbrt_status lbrt_model_info(const lbrt_model* model, lbrt_info* info);

/* The same model at another of its widths (lbrt_info.widths); lives as long. */
lbrt_status lbrt_model_at(const lbrt_model* model, int32_t bits, const lbrt_model** at);

/* Texts are UTF-8 from the file. NULL from `index` = their number on. */
const char* lbrt_label(const lbrt_model* model, size_t index);
/* Where the model comes from: network, recipe, seed, ... */
lbrt_status lbrt_note(const lbrt_model* model, size_t index, const char** key, const char** value);
/* What was measured with it, e.g. "CIFAR-10 test, top-1", in percent. */
lbrt_status lbrt_measurement(const lbrt_model* model, size_t index, const char** what,
                             float* percent);

/* LBRT_SIGN: +-1 values, packed. LBRT_CODES: activation codes, 0 to 255, a byte each; never of
 * inputs and outputs. */
typedef enum lbrt_type { LBRT_U8 = 0, LBRT_F32 = 1, LBRT_SIGN = 2, LBRT_CODES = 3 } lbrt_type;

typedef struct lbrt_tensor {
  size_t struct_size;
  const char* name;          /* of the input or output, or of the tensor in the file; may be NULL */
  const char* preprocessing; /* inputs: how an image becomes this tensor, one setting a line
                                (images/preprocess.h); NULL = none */
  uint32_t index;            /* among the model's tensors */
  lbrt_type type;
  int32_t shape[4];     /* batch, height, width, channels */
  ptrdiff_t strides[4]; /* in bytes; inputs and outputs are dense, channels innermost */
  void* data;           /* NULL where there is no session */
} lbrt_tensor;

/* Shapes without a session; `data` is NULL. */
lbrt_status lbrt_model_input(const lbrt_model* model, size_t index, lbrt_tensor* tensor);
lbrt_status lbrt_model_output(const lbrt_model* model, size_t index, lbrt_tensor* tensor);

/* What will run, for people and profiles. Texts hold as long as the model. */
typedef struct lbrt_op {
  size_t struct_size;
  const char* name;   /* from the file, may be NULL */
  const char* kind;   /* "conv", "eltwise", "avg_pool", "max_pool", "concat" */
  const char* kernel; /* row of kernels/kernels.h */
  const char* isa;
  const char* precision; /* bits of weights x activations: "1x1", "ternx2", "4x8", "1xf32",
                            "i24xu8", "f32xf32"; of other ops the input's: "f32", "2" */
  const char* why;       /* why this kernel */
  int64_t macs;          /* multiply-adds, padding not counted */
  size_t weight_bytes;   /* in the file */
  int32_t shape[4];      /* of the result */
  size_t tensor_count;   /* how many tensors it makes: see lbrt_op_tensor */
} lbrt_op;
lbrt_status lbrt_model_op(const lbrt_model* model, size_t index, lbrt_op* op);
/* Tensor `index` of the ones op `op` makes, as an index among the model's tensors. */
lbrt_status lbrt_op_tensor(const lbrt_model* model, size_t op, size_t index, uint32_t* tensor);
/* Any tensor: name, type and shape. */
lbrt_status lbrt_model_tensor(const lbrt_model* model, size_t index, lbrt_tensor* tensor);

/* ---- Sessions ---- */

/* Calls task(argument, i) once for each i < tasks, on any threads; returns when all are done. */
typedef void (*lbrt_task)(void* argument, size_t index);
typedef void (*lbrt_parallel_for)(void* context, size_t tasks, lbrt_task task, void* argument);

/* Called after each op, on the thread that called lbrt_run. */
typedef void (*lbrt_observer)(void* context, const lbrt_session* session, size_t op);

typedef struct lbrt_session_options {
  size_t struct_size;
  int32_t threads; /* the most tasks at once; 0 or 1 = none but the caller's thread. Results do not
                      depend on it. */
  lbrt_parallel_for parallel_for; /* needed for threads > 1; e.g. lbrt_pool_run */
  void* parallel_context;
  lbrt_observer observer; /* may be NULL */
  void* observer_context;
  lbrt_error* error; /* out, may be NULL */
} lbrt_session_options;

lbrt_status lbrt_session_bytes(const lbrt_model* model, const lbrt_session_options* options,
                               size_t* bytes);
lbrt_status lbrt_session_create(const lbrt_model* model, const lbrt_session_options* options,
                                void* memory, size_t bytes, lbrt_session** session);

/* lbrt_run leaves inputs as they are; outputs hold until the next run. */
lbrt_status lbrt_input(const lbrt_session* session, size_t index, lbrt_tensor* tensor);
lbrt_status lbrt_output(const lbrt_session* session, size_t index, lbrt_tensor* tensor);
lbrt_status lbrt_input_by_name(const lbrt_session* session, const char* name, lbrt_tensor* tensor);
lbrt_status lbrt_output_by_name(const lbrt_session* session, const char* name, lbrt_tensor* tensor);

/* Cannot fail but for a null pointer. Sets the floating-point environment it needs (no flush to
 * zero, round to nearest) in every thread it uses, and restores the caller's. One session runs on
 * one thread at a time. */
lbrt_status lbrt_run(lbrt_session* session);

/* Bits per weight of the next runs: one of lbrt_info.widths; a session begins at the width of the
 * handle it was made of. Takes no time to speak of and no memory. Inputs keep their values and
 * places, outputs their places; ops and tensors are those of lbrt_model_at's handle. */
lbrt_status lbrt_set_width(lbrt_session* session, int32_t bits);

/* The values of any tensor of the present width, NHWC, dense, whatever its layout (+-1 for
 * LBRT_SIGN, the codes for LBRT_CODES): `count` = its number of elements. Valid in the observer's
 * call after the op that makes it; later ops may reuse its memory. */
lbrt_status lbrt_tensor_read(const lbrt_session* session, size_t index, float* values,
                             size_t count);

/* ---- A thread pool for hosts (pthreadpool; not in firmware builds) ---- */

/* NULL when threads cannot be made. Give lbrt_pool_run as parallel_for, the pool as its context.
 * Sessions that run at the same time each need a pool of their own. */
void* lbrt_pool_create(size_t threads);
void lbrt_pool_run(void* pool, size_t tasks, lbrt_task task, void* argument);
void lbrt_pool_destroy(void* pool);

#ifdef __cplusplus
}
#endif
#endif /* LBRT_H_ */
