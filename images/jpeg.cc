// libjpeg's headers use what the first two declare.
// clang-format off
#include <cstddef>
#include <cstdio>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <csetjmp>
#include <cstring>

#include "images/error.h"
#include "images/formats.h"

namespace lbrt {
namespace {

// As in png.cc: no C++ object lives in a function that calls setjmp.
struct Reader {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = "";

  Reader() { jpeg.client_data = this; }
  ~Reader() { jpeg_destroy_decompress(&jpeg); }
};

void OnError(j_common_ptr jpeg) {
  auto& reader = *static_cast<Reader*>(jpeg->client_data);
  jpeg->err->format_message(jpeg, reader.message);
  std::longjmp(reader.jump, 1);
}

// Warnings are about damage that decodes nevertheless.
void OnMessage(j_common_ptr, int) {}

// The whole file is in memory: to need more is to be truncated. (libjpeg would invent an end.)
boolean OnEnd(j_decompress_ptr jpeg) {
  ERREXIT(jpeg, JERR_INPUT_EOF);
  return FALSE;
}

// A small progressive file can hold thousands of scans over a large image: minutes of work.
void OnProgress(j_common_ptr jpeg) {
  constexpr int kMaxScans = 500;
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number > kMaxScans)
    ERREXIT(jpeg, JERR_BAD_PROGRESSION);
}

bool ReadHeader(Reader& reader, const uint8_t* bytes, size_t count) {
  jpeg_decompress_struct& jpeg = reader.jpeg;
  jpeg.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = OnError;
  reader.errors.emit_message = OnMessage;
  if (setjmp(reader.jump)) return false;
  jpeg_create_decompress(&jpeg);
  reader.progress.progress_monitor = OnProgress;
  jpeg.progress = &reader.progress;
  jpeg_mem_src(&jpeg, bytes, count);
  jpeg.src->fill_input_buffer = OnEnd;
  jpeg_save_markers(&jpeg, JPEG_APP0 + 1, 0xffff);  // EXIF
  jpeg_read_header(&jpeg, TRUE);
  return true;
}

// K inverted stands for the light that black ink leaves: R = C K / 255 on inverted values, in
// Pillow's rounding.
void InvertedCmykToRgb(const uint8_t* in, uint8_t* out, int width) {
  for (int x = 0; x < width; ++x, in += 4)
    for (int c = 0; c < 3; ++c)
      *out++ = static_cast<uint8_t>(in[3] - DividedBy255((255u - in[c]) * in[3]));
}

// row: 4 bytes per pixel, used for CMYK only.
bool ReadPixels(Reader& reader, Image& image, uint8_t* row) {
  jpeg_decompress_struct& jpeg = reader.jpeg;
  if (setjmp(reader.jump)) return false;
  jpeg_start_decompress(&jpeg);
  const bool cmyk = jpeg.out_color_space == JCS_CMYK;
  while (jpeg.output_scanline < jpeg.output_height) {
    uint8_t* pixels = image.row(static_cast<int>(jpeg.output_scanline));
    JSAMPROW target = cmyk ? row : pixels;
    jpeg_read_scanlines(&jpeg, &target, 1);
    if (cmyk) InvertedCmykToRgb(row, pixels, image.width);
  }
  jpeg_finish_decompress(&jpeg);
  return true;
}

int Orientation(const jpeg_decompress_struct& jpeg) {
  constexpr char kExif[6] = {'E', 'x', 'i', 'f', 0, 0};
  for (auto* marker = jpeg.marker_list; marker != nullptr; marker = marker->next)
    if (marker->data_length > sizeof kExif && std::memcmp(marker->data, kExif, sizeof kExif) == 0)
      return ExifOrientation(Bytes(marker->data, marker->data_length).subspan(sizeof kExif));
  return 1;
}

int Reduced(JDIMENSION length, unsigned divisor) {
  return static_cast<int>((length + divisor - 1) / divisor);  // as libjpeg rounds
}

// What the image may be divided by: 8, 4, 2 or 1.
unsigned Divisor(const jpeg_decompress_struct& jpeg, bool transposed, const LeastSide& least_side) {
  const int width = static_cast<int>(jpeg.image_width);
  const int height = static_cast<int>(jpeg.image_height);
  const int least = transposed ? least_side(height, width) : least_side(width, height);
  for (const unsigned divisor : {8u, 4u, 2u})
    if (std::min(Reduced(jpeg.image_width, divisor), Reduced(jpeg.image_height, divisor)) >= least)
      return divisor;
  return 1;
}

}  // namespace

Image DecodeJpeg(Bytes bytes, const std::string& name, const LeastSide& least_side,
                 int& orientation) {
  Reader reader;
  const auto refuse = [&] {
    throw InputError(name, std::string("damaged JPEG: ") + reader.message);
  };
  if (!ReadHeader(reader, bytes.data(), bytes.size())) refuse();
  jpeg_decompress_struct& jpeg = reader.jpeg;
  CheckSize(jpeg.image_width, jpeg.image_height, name);
  if (jpeg.out_color_space == JCS_UNKNOWN)
    throw InputError(name, "a JPEG of " + std::to_string(jpeg.num_components) +
                               " unnamed channels, expected grey, colour or CMYK");
  orientation = Orientation(jpeg);
  if (least_side) jpeg.scale_denom = Divisor(jpeg, orientation >= 5, least_side);
  Image image(Reduced(jpeg.image_width, jpeg.scale_denom),
              Reduced(jpeg.image_height, jpeg.scale_denom),
              jpeg.out_color_space == JCS_GRAYSCALE ? 1 : 3);
  std::vector<uint8_t> row(4 * static_cast<size_t>(image.width));
  if (!ReadPixels(reader, image, row.data())) refuse();
  return image;
}

}  // namespace lbrt
