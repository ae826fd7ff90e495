#include "nn/parameter.h"

#include "base/error.h"
#include "base/text.h"

namespace wellspring {
namespace {

// The piece of `value` that `part` covers, as the file has it: a view.
Tensor piece_of(const ParameterPart& part, const Tensor& value) {
  Shape shape = value.shape(), strides = value.strides();
  shape[0] = part.rows;
  int64_t offset = value.offset() + part.row * strides[0];
  if (part.transposed) {
    std::swap(shape[0], shape[1]);
    std::swap(strides[0], strides[1]);
  }
  return value.as_strided(shape, strides, offset);
}

}  // namespace

std::vector<std::pair<std::string, Tensor>> split_parts(const Parameter& parameter,
                                                        const Tensor& value) {
  WS_CHECK(value.defined() && value.shape() == parameter.shape(),
           str("a value of another shape for parameter ", parameter.name));
  std::vector<std::pair<std::string, Tensor>> out;
  const Tensor host = value.to_device({});
  for (const ParameterPart& part : parameter.parts)
    out.emplace_back(part.name, piece_of(part, host));
  return out;
}

void merge_part(const Parameter& parameter, const ParameterPart& part, const Tensor& piece,
                const Tensor& value, const std::string& where) {
  Tensor to = piece_of(part, value);
  if (!(to.shape() == piece.shape()))
    throw Error(Fault::data, str(where, ": tensor '", part.name, "' has shape ",
                                 piece.shape().text(), ", but the model's configuration asks for ",
                                 to.shape().text(), " (", parameter.name, ")"));
  if (!is_float(piece.dtype()))
    throw Error(Fault::data, str(where, ": tensor '", part.name, "' is ", name_of(piece.dtype()),
                                 ", but weights are floating"));
  to.copy_from(piece);
}

void refresh_compute(const Parameter& parameter) {
  if (parameter.master.defined() && !parameter.compute.same(parameter.master))
    parameter.compute.copy_from(parameter.master);
}

}  // namespace wellspring
