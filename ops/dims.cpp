#include "ops/dims.h"

#include <algorithm>

#include "base/index_error.h"
#include "base/text.h"

namespace wellspring {

int dim_of(const char* op, const Tensor& x, int dim) {
  const int n = std::max(x.dims(), 1);
  if (dim < -n || dim >= n)
    throw IndexError(str(op, ": dimension ", dim, " is out of range for ", x.text()));
  return dim < 0 ? dim + n : dim;
}

}  // namespace wellspring
