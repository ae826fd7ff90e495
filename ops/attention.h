#pragma once
// Attention without a T x S matrix in memory. B batch, T queries, S keys, H query heads, Hk key heads
// (H a multiple of Hk: head h reads key head h / (H / Hk)), D head width (up to 256).

#include "tensor/tensor.h"

namespace wellspring {

/// softmax(scale q k^T) v for q [B,T,H,D], k and v [B,S,Hk,D], all f32 or all bf16; gives [B,T,H,D] in the
/// same dtype, accumulated in f32. Any strides (a last stride other than 1 costs a copy). `causal` aligns
/// bottom-right: query t sees the keys up to t + S - T; a query that sees none gives zeros. `scale` 0 means
/// 1 / sqrt(D). Differentiable in q, k and v. The bits of a query's result do not depend on the other
/// queries and batch rows nor on the number of threads (but up to 4 queries take another way than more). Errors: Fault::usage with the shapes.
/// Source: Dao et al., FlashAttention-2, arXiv 2307.08691.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, bool causal = true,
                 double scale = 0);

/// The same for q, k and v packed along the heads: qkv [B,T,heads + 2 kv_heads,D] -> [B,T,heads,D]. Nothing
/// is copied, and the gradient is one packed tensor.
Tensor attention_qkv(const Tensor& qkv, int64_t heads, int64_t kv_heads, bool causal = true,
                     double scale = 0);

/// Attention to a cache: of k and v [B,S,Hk,D] batch row b has lengths[b] valid keys (i32 [B]; at most S),
/// of which, when causal, the last T belong to the queries; what lies past them is not read. The result does
/// not depend on S. No gradient: Error(Fault::usage) when one would be recorded.
Tensor attention_cached(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lengths,
                        bool causal = true, double scale = 0);

}  // namespace wellspring
