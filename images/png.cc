#include <png.h>

#include <csetjmp>
#include <cstring>
#include <new>
#include <vector>

#include "images/error.h"
#include "images/file.h"
#include "images/formats.h"
#include "images/write.h"

namespace lbrt {
namespace {

// libpng reports errors by longjmp. It must not pass over C++ objects, so every function that calls
// setjmp has plain locals only, and memory is allocated between them.
struct Reader {
  Bytes rest;
  char message[96] = "";
  png_structp png = nullptr;
  png_infop info = nullptr;

  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

struct Writer {
  std::vector<uint8_t> bytes;
  png_structp png = nullptr;
  png_infop info = nullptr;

  ~Writer() { png_destroy_write_struct(&png, &info); }
};

void OnReadError(png_structp png, png_const_charp message) {
  auto& reader = *static_cast<Reader*>(png_get_error_ptr(png));
  std::strncpy(reader.message, message, sizeof reader.message - 1);
  png_longjmp(png, 1);
}

void OnWarning(png_structp, png_const_charp) {}

void ReadBytes(png_structp png, png_bytep out, size_t count) {
  auto& reader = *static_cast<Reader*>(png_get_io_ptr(png));
  if (count > reader.rest.size()) png_error(png, "truncated");
  std::memcpy(out, reader.rest.data(), count);
  reader.rest = reader.rest.subspan(count);
}

bool ReadHeader(Reader& reader) {
  if (setjmp(png_jmpbuf(reader.png))) return false;
  // Sizes are ours to check. Text and colour profiles are skipped unread.
  png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_AS_DEFAULT,
                              reinterpret_cast<png_const_bytep>("eXIf"), 1);
  png_set_read_fn(reader.png, &reader, ReadBytes);
  png_read_info(reader.png, reader.info);
  png_set_expand(reader.png);    // palettes to RGB, few bits to 8, a transparent colour to alpha
  png_set_strip_16(reader.png);  // the high byte
  return true;
}

// Allocates libpng's row buffers. channels: of a row after the transformations asked for.
bool PrepareRows(Reader& reader, int& channels, int& passes) {
  if (setjmp(png_jmpbuf(reader.png))) return false;
  passes = png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  channels = png_get_channels(reader.png, reader.info);
  return true;
}

bool ReadPixels(Reader& reader, Image& image, int passes) {
  if (setjmp(png_jmpbuf(reader.png))) return false;
  for (int pass = 0; pass < passes; ++pass)
    for (int y = 0; y < image.height; ++y) png_read_row(reader.png, image.row(y), nullptr);
  png_read_end(reader.png, reader.info);
  return true;
}

void OnWriteError(png_structp png, png_const_charp) { png_longjmp(png, 1); }

void WriteBytes(png_structp png, png_bytep data, size_t count) {
  auto& bytes = *static_cast<std::vector<uint8_t>*>(png_get_io_ptr(png));
  bool stored = true;
  try {
    bytes.insert(bytes.end(), data, data + count);
  } catch (const std::bad_alloc&) {
    stored = false;  // no exception may pass through libpng either
  }
  if (!stored) png_error(png, "out of memory");
}

bool WriteImage(Writer& writer, const Image& image) {
  if (setjmp(png_jmpbuf(writer.png))) return false;
  png_set_write_fn(writer.png, &writer.bytes, WriteBytes, nullptr);
  png_set_IHDR(writer.png, writer.info, image.width, image.height, 8,
               image.channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(writer.png, writer.info);
  for (int y = 0; y < image.height; ++y) png_write_row(writer.png, image.row(y));
  png_write_end(writer.png, nullptr);
  return true;
}

}  // namespace

Image DecodePng(Bytes bytes, const std::string& name, int& orientation) {
  Reader reader;
  reader.rest = bytes;
  const auto refuse = [&] {
    throw InputError(name, std::string("damaged PNG: ") + reader.message);
  };
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, OnReadError, OnWarning);
  if (reader.png == nullptr) throw std::bad_alloc();
  reader.info = png_create_info_struct(reader.png);
  if (reader.info == nullptr) throw std::bad_alloc();

  if (!ReadHeader(reader)) refuse();
  const auto width = png_get_image_width(reader.png, reader.info);
  const auto height = png_get_image_height(reader.png, reader.info);
  CheckSize(width, height, name);
  int channels = 0, passes = 0;
  if (!PrepareRows(reader, channels, passes)) refuse();
  Image image(static_cast<int>(width), static_cast<int>(height), channels);
  if (!ReadPixels(reader, image, passes)) refuse();

  png_uint_32 exif_bytes = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(reader.png, reader.info, &exif_bytes, &exif) != 0)
    orientation = ExifOrientation({exif, exif_bytes});
  return image;
}

void WritePng(const std::string& path, const Image& image) {
  Writer writer;
  writer.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, OnWriteError, OnWarning);
  if (writer.png == nullptr) throw std::bad_alloc();
  writer.info = png_create_info_struct(writer.png);
  if (writer.info == nullptr) throw std::bad_alloc();
  if (!WriteImage(writer, image)) throw InputError(path, "cannot encode as PNG");
  WriteFile(path, writer.bytes);
}

}  // namespace lbrt
