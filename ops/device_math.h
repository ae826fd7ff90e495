// The dialect of `value` and `grad` in ops/schema/pointwise.yaml, and what is written in it.
//
// An expression is C over operands of one type, WS_REAL: + - * /, comparisons, `condition ? a : b`, & and |
// between conditions, and the functions
//   exp exp2 expm1 log log1p sin cos tanh erf sqrt abs floor ceil trunc round pow isinf isfinite
// of the chip, and those below. Both branches of a choice are computed. A number is WS_NUMBER(c) (the
// generator writes that). So the CPU's compiler takes it with vectors as WS_REAL, OpenCL C and CUDA C++
// with scalars.
//
// Included once for each WS_REAL (there is no include guard on purpose), inside the chip's namespace,
// with WS_FN as the qualifiers of a function.

/// 1 / (1 + exp(-x)), without overflow.
WS_FN WS_REAL sigmoid(WS_REAL x) {
  const WS_REAL e = exp(-abs(x));
  return (x < WS_NUMBER(0) ? e : WS_NUMBER(1)) / (WS_NUMBER(1) + e);
}

/// Derivative of x sigmoid(u), u = x (a + b x^2): the tanh form of GELU. Beyond 40 the second term is
/// nothing, and its factors would overflow.
WS_FN WS_REAL gelu_tanh_slope(WS_REAL x) {
  WS_REAL t = x > WS_NUMBER(40) ? WS_NUMBER(40) : x;
  t = t < WS_NUMBER(-40) ? WS_NUMBER(-40) : t;
  const WS_REAL a = WS_NUMBER(1.5957691216057308), b = WS_NUMBER(0.07135481627260025);
  const WS_REAL z = b * t * t, u = t * (a + z);
  const WS_REAL e = exp(-abs(u)), q = WS_NUMBER(1) / (WS_NUMBER(1) + e);
  const WS_REAL s = u < WS_NUMBER(0) ? e * q : q;
  return s + t * (e * q * q) * (a + WS_NUMBER(3) * z);
}
