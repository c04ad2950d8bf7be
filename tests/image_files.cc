#include "tests/image_files.h"

// libjpeg's headers use what the first two declare.
// clang-format off
#include <cstddef>
#include <cstdio>
#include <jpeglib.h>
// clang-format on

#include <png.h>

namespace lbrt {

std::vector<uint8_t> MakePng(const PngFile& file) {
  std::vector<uint8_t> bytes;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &bytes,
      [](png_structp p, png_bytep data, size_t count) {
        auto& out = *static_cast<std::vector<uint8_t>*>(png_get_io_ptr(p));
        out.insert(out.end(), data, data + count);
      },
      nullptr);
  png_set_IHDR(png, info, file.width, file.height, file.bits, file.colour_type,
               file.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!file.palette.empty())
    png_set_PLTE(png, info, reinterpret_cast<png_const_colorp>(file.palette.data()),
                 static_cast<int>(file.palette.size() / 3));
  png_color_16 transparent{};
  transparent.gray = transparent.red = static_cast<uint16_t>(file.transparent[0]);
  transparent.green = static_cast<uint16_t>(file.transparent[1]);
  transparent.blue = static_cast<uint16_t>(file.transparent[2]);
  if (!file.palette_alpha.empty() || file.transparent[0] >= 0)
    png_set_tRNS(png, info, file.palette_alpha.data(), static_cast<int>(file.palette_alpha.size()),
                 &transparent);
  std::vector<uint8_t> exif = file.exif;
  if (!exif.empty()) png_set_eXIf_1(png, info, static_cast<png_uint_32>(exif.size()), exif.data());
  png_write_info(png, info);
  const size_t stride = file.rows.size() / file.height;
  const int passes = png_set_interlace_handling(png);
  for (int pass = 0; pass < passes; ++pass)
    for (int y = 0; y < file.height; ++y) png_write_row(png, file.rows.data() + y * stride);
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

std::vector<uint8_t> MakeJpeg(const JpegFile& file) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &memory, &size);
  jpeg.image_width = file.width;
  jpeg.image_height = file.height;
  jpeg.input_components = file.channels;
  jpeg.in_color_space = file.channels == 1   ? JCS_GRAYSCALE
                        : file.channels == 3 ? JCS_RGB
                                             : JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  if (file.ycck) jpeg_set_colorspace(&jpeg, JCS_YCCK);
  jpeg.write_Adobe_marker = file.channels == 4;
  jpeg_set_quality(&jpeg, file.quality, TRUE);
  if (!file.subsampled)
    for (int c = 0; c < jpeg.num_components; ++c)
      jpeg.comp_info[c].h_samp_factor = jpeg.comp_info[c].v_samp_factor = 1;
  if (file.progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  if (!file.exif.empty()) {
    std::vector<uint8_t> marker = {'E', 'x', 'i', 'f', 0, 0};
    marker.insert(marker.end(), file.exif.begin(), file.exif.end());
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, marker.data(), static_cast<unsigned>(marker.size()));
  }
  for (int y = 0; y < file.height; ++y) {
    auto* row = const_cast<uint8_t*>(file.pixels.data()) +
                static_cast<size_t>(y) * file.width * file.channels;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  std::vector<uint8_t> bytes(memory, memory + size);
  free(memory);
  return bytes;
}

std::vector<uint8_t> MakeExif(int orientation, bool big_endian) {
  std::vector<uint8_t> bytes;
  const auto put = [&](uint32_t value, int count) {
    for (int i = 0; i < count; ++i)
      bytes.push_back(static_cast<uint8_t>(value >> 8 * (big_endian ? count - 1 - i : i)));
  };
  put(big_endian ? 0x4d4d : 0x4949, 2);
  put(42, 2);
  put(8, 4);  // the directory's offset
  put(2, 2);  // its entries: tag, type, count, value
  for (const uint32_t tag : {0x0100u, 0x0112u}) {
    put(tag, 2);
    put(3, 2);
    put(1, 4);
    put(tag == 0x0112 ? orientation : 5, 2);
    put(0, 2);
  }
  put(0, 4);  // no further directory
  return bytes;
}

std::vector<uint8_t> MakeBmp(const BmpFile& file) {
  std::vector<uint8_t> bytes = {'B', 'M'};
  const auto put = [&](uint32_t value, int count) {
    for (int i = 0; i < count; ++i) bytes.push_back(static_cast<uint8_t>(value >> 8 * i));
  };
  put(static_cast<uint32_t>(54 + file.data.size()), 4);
  put(0, 4);
  put(54 + file.before_rows, 4);
  put(40, 4);
  put(static_cast<uint32_t>(file.width), 4);
  put(static_cast<uint32_t>(file.height), 4);
  put(1, 2);
  put(static_cast<uint32_t>(file.bits), 2);
  put(file.compression, 4);
  put(0, 4);  // size of the rows: may be 0
  put(0, 4);
  put(0, 4);
  put(file.colours, 4);
  put(0, 4);
  bytes.insert(bytes.end(), file.data.begin(), file.data.end());
  return bytes;
}

}  // namespace lbrt
