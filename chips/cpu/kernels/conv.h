#pragma once
// What the convolution kernels share. Include inside kernel sources only.

#include "chips/cpu/kernels/gemm.h"

WS_SHARED_BEGIN

/// The extents of one convolution; channels and filters are those of one group.
struct ConvShape {
  int64_t images, groups, channels, filters, taps_y, taps_x, out_rows, out_columns;
  int64_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
  bool depthwise() const { return channels == 1 && groups > 1; }
};

/// With one channel in each group; views as of the kernels in conv.cpp.
void conv_depthwise(const ConvShape& c, const View& x, const View& weight, const View& bias,
                    const View& y);
void conv_depthwise_input(const ConvShape& c, const View& y, const View& weight, const View& bias,
                          const View& x);
void conv_depthwise_weight(const ConvShape& c, const View& x, const View& y, const View& dweight);

WS_SHARED_END

WS_KERNELS_BEGIN

inline ConvShape conv_shape(const char* kernel, const Call& call, const View& x,
                            const int64_t* weight, const View& y) {
  const auto takes = [](DType t) { return t == DType::f32 || t == DType::bf16 || t == DType::f64; };
  if (call.attrs != 7 || x.dims != 4 || y.dims != 4)
    cpu::kernel_refuses(kernel, "it takes images [N, C, H, W] and seven attributes");
  if (!takes(x.dtype) || !takes(y.dtype) || (x.dtype == DType::f64) != (y.dtype == DType::f64))
    cpu::kernel_refuses(kernel, "the dtypes are not f32, bf16 or all f64");
  ConvShape c;
  int64_t* const attrs[] = {&c.stride_y,   &c.stride_x,   &c.padding_y, &c.padding_x,
                            &c.dilation_y, &c.dilation_x, &c.groups};
  for (int i = 0; i < 7; ++i) *attrs[i] = call.attr[i].i;
  c.images = x.shape[0], c.filters = weight[0] / c.groups, c.channels = weight[1];
  c.taps_y = weight[2], c.taps_x = weight[3];
  c.out_rows = y.shape[2], c.out_columns = y.shape[3];
  if (x.shape[1] != c.channels * c.groups || y.shape[1] != c.filters * c.groups)
    cpu::kernel_refuses(kernel, "the channels do not fit");
  return c;
}

WS_KERNELS_END
