#pragma once
// From f32 to the blocks of gguf_types.h, whose table is the way to these.

#include <cstdint>

namespace wellspring {

void gguf_encode_f32(const float* from, int64_t blocks, uint8_t* to);
void gguf_encode_f16(const float* from, int64_t blocks, uint8_t* to);
void gguf_encode_bf16(const float* from, int64_t blocks, uint8_t* to);
void gguf_encode_q8_0(const float* from, int64_t blocks, uint8_t* to);
void gguf_encode_q4_0(const float* from, int64_t blocks, uint8_t* to);
void gguf_encode_q4_k(const float* from, int64_t blocks, uint8_t* to);

}  // namespace wellspring
