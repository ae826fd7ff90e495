#pragma once
// Folds for other kernels' host halves.

#include "chips/device/device.h"

namespace wellspring::device {

/// Folds x into r.outputs results by an operation of source/reduce.inc ("sum", "var", ...), cutting
/// it into pieces first. `centers`: one per output in the computing type, for "var".
void fold(const Call& call, const char* op, Real real, WsReduce r, const void* out, const void* x,
          const void* centers);
/// Joins f32 parts [r.pieces, r.outputs] in their order.
void fold_pieces(const Call& call, const char* op, WsReduce r, const void* out, const void* parts);

}  // namespace wellspring::device
