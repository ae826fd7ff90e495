// Rearranging.
#include "ops/arrange.h"

#include "ops/cases.h"
#include "ops/pointwise.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                            DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};

using Run = Tensors (*)(const Tensor&);

// Every dtype, every layout.
void each(CaseList& cases, const Shape& shape, Run run, int64_t length = 1) {
  for (const DType t : kTypes)
    cases
        .add(name_of(t).data(), {random_input(shape, t)},
             [run](const Tensors& in) -> Tensors { return run(in[0]); })
        .sums(length)
        .f64();
  for (int layout = 1; layout < 6; ++layout)
    cases
        .add("layout " + std::to_string(layout),
             {random_input(shape).with(static_cast<Layout>(layout))},
             [run](const Tensors& in) -> Tensors { return run(in[0]); })
        .sums(length)
        .f64();
}

void some(CaseList& cases, const char* name, const Shape& shape, Run run) {
  cases.add(name, {random_input(shape)}, [run](const Tensors& in) -> Tensors { return run(in[0]); })
      .f64();
}

void time_it(CaseList& cases, Run run, double moved = 2) {
  for (const DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " [4096, 4096]", {random_input({4096, 4096}, t)},
              [run](const Tensors& in) -> Tensors { return run(in[0]); })
        .moves(moved * 4096 * 4096 * static_cast<double>(size_of(t)));
}

}  // namespace

WS_CASES(flip) {
  each(cases, {3, 8, 37}, [](const Tensor& x) -> Tensors {
    return {flip(x, {0}), flip(x, {-1}), flip(x, {0, 1, 2}), flip(x, {})};
  });
  some(cases, "0-d", {}, [](const Tensor& x) -> Tensors { return {flip(x, {0})}; });
  some(cases, "empty", {0, 3}, [](const Tensor& x) -> Tensors { return {flip(x, {0, 1})}; });
  time_it(cases, [](const Tensor& x) -> Tensors { return {flip(x, {0, 1})}; });
}
WS_CASES(roll) {
  each(cases, {3, 8, 7}, [](const Tensor& x) -> Tensors {
    return {roll(x, {2}, {-1}), roll(x, {-1, 10}, {0, 1}), roll(x, {5}), roll(x, {0}, {1})};
  });
  some(cases, "0-d", {}, [](const Tensor& x) -> Tensors { return {roll(x, {3})}; });
  some(cases, "empty", {0, 3}, [](const Tensor& x) -> Tensors { return {roll(x, {1}, {0})}; });
  time_it(cases, [](const Tensor& x) -> Tensors { return {roll(x, {100}, {1})}; });
}
WS_CASES(rot90) {
  each(cases, {3, 8, 7}, [](const Tensor& x) -> Tensors {
    return {rot90(x), rot90(x, 2, {1, 2}), rot90(x, -1, {2, 0}), rot90(x, 4)};
  });
  time_it(cases, [](const Tensor& x) -> Tensors { return {rot90(x)}; });
}
WS_CASES(repeat) {
  each(
      cases, {3, 1, 7},
      [](const Tensor& x) -> Tensors {
        return {repeat(x, {2, 3, 2}), repeat(x, {2, 1, 1, 1}), repeat(x, {1, 1, 1}),
                repeat(x, {1, 0, 2})};
      },
      12);
  some(cases, "0-d", {}, [](const Tensor& x) -> Tensors {
    return {repeat(x, {2, 3}), repeat(x, {})};
  });
  some(cases, "many dimensions", {2, 2, 2, 1, 2, 2}, [](const Tensor& x) -> Tensors {
    return {repeat(x, {1, 2, 2, 2, 1, 2, 2, 2})};
  });
  time_it(cases, [](const Tensor& x) -> Tensors {
    return {repeat(narrow(x, 0, 0, 1024), {2, 2})};
  });
}
WS_CASES(tile) {
  each(
      cases, {3, 1, 7},
      [](const Tensor& x) -> Tensors {
        return {tile(x, {2}), tile(x, {2, 3, 2}), tile(x, {2, 1, 1, 3})};
      },
      12);
}
WS_CASES(repeat_interleave) {
  each(
      cases, {3, 4, 7},
      [](const Tensor& x) -> Tensors {
        const Tensor times = Tensor::from(std::vector<int64_t>{2, 0, 1, 3}, {4});
        return {repeat_interleave(x, 3), repeat_interleave(x, 2, 0), repeat_interleave(x, 0, -1),
                repeat_interleave(x, times, 1), repeat_interleave(times)};
      },
      6);
  some(cases, "0-d", {}, [](const Tensor& x) -> Tensors { return {repeat_interleave(x, 3)}; });
}
WS_CASES(constant_pad_nd) {
  each(cases, {3, 4, 7}, [](const Tensor& x) -> Tensors {
    return {constant_pad_nd(x, {1, 2}), constant_pad_nd(x, {0, 3, 2, 1, 1, 0}, 1),
            constant_pad_nd(x, {-2, 1, 0, -1}, 2), constant_pad_nd(x, {9, -8, -4, 5}),
            constant_pad_nd(x, {})};
  });
  some(cases, "empty", {0, 3}, [](const Tensor& x) -> Tensors {
    return {constant_pad_nd(x, {1, 1, 2, 0}, 5)};
  });
  time_it(cases, [](const Tensor& x) -> Tensors { return {constant_pad_nd(x, {1, 1, 1, 1})}; });
}
WS_CASES(pad) {
  each(
      cases, {3, 4, 7},
      [](const Tensor& x) -> Tensors {
        return {pad(x, {1, 2}),
                pad(x, {3, 2}, "reflect"),
                pad(x, {6, 0, 1, 3}, "reflect"),
                pad(x, {8, 1, 0, 2}, "replicate"),
                pad(x, {7, 2, 3, 0}, "circular"),
                pad(x, {0, 0}, "replicate"),
                pad(x, {-2, 1}, "replicate")};
      },
      9);
  time_it(cases, [](const Tensor& x) -> Tensors { return {pad(x, {3, 3, 3, 3}, "reflect")}; });
}
WS_CASES(unfold) {
  each(
      cases, {3, 9, 7},
      [](const Tensor& x) -> Tensors {
        return {unfold(x, 1, 3, 1), unfold(x, -1, 2, 3), unfold(x, 0, 3, 5), unfold(x, 1, 0, 2)};
      },
      4);
  some(cases, "0-d", {}, [](const Tensor& x) -> Tensors { return {unfold(x, 0, 1, 1)}; });
}

namespace {

void joins(CaseList& cases, Tensor (*join)(std::span<const Tensor>), const Shape& a,
           const Shape& b) {
  for (const DType t : kTypes)
    cases
        .add(std::string(name_of(t)) + " " + a.text(), {random_input(a, t), random_input(b, t)},
             [=](const Tensors& in) -> Tensors { return {join(in)}; })
        .f64();
  cases.add("two dtypes " + a.text(), {random_input(a), random_input(b, DType::f64)},
            [=](const Tensors& in) -> Tensors { return {join(in)}; });
}

}  // namespace

WS_CASES(hstack) {
  joins(cases, hstack, {3, 4}, {3, 2});
  joins(cases, hstack, {5}, {});
}
WS_CASES(vstack) {
  joins(cases, vstack, {3, 4}, {4});
  joins(cases, vstack, {}, {1, 1});
}
WS_CASES(dstack) {
  joins(cases, dstack, {3, 4}, {3, 4, 5});
  joins(cases, dstack, {4}, {1, 4, 2});
}
WS_CASES(concat) {
  joins(cases, [](std::span<const Tensor> p) { return concat(p, -1); }, {3, 4}, {3, 2});
  joins(cases, [](std::span<const Tensor> p) { return concatenate(p); }, {3, 4}, {0});
}
WS_CASES(split_with_sizes) {
  each(cases, {3, 9, 7}, [](const Tensor& x) { return split_with_sizes(x, {2, 0, 7}, 1); });
}
WS_CASES(tensor_split) {
  each(cases, {3, 9, 7}, [](const Tensor& x) -> Tensors {
    Tensors all = tensor_split(x, 4, 1);
    for (const Tensor& t : tensor_split(x, std::vector<int64_t>{2, 5, 4, 20}, -1)) all.push_back(t);
    return all;
  });
}
WS_CASES(unbind) {
  each(cases, {3, 4, 7}, [](const Tensor& x) { return unbind(x, 1); });
}
WS_CASES(movedim) {
  each(cases, {3, 4, 7}, [](const Tensor& x) -> Tensors {
    return {movedim(x, 0, -1), movedim(x, {0, 2}, {1, 0})};
  });
}
WS_CASES(unflatten) {
  each(cases, {3, 12, 7}, [](const Tensor& x) -> Tensors {
    return {unflatten(x, 1, {3, -1}), unflatten(x, 1, {2, 3, 2})};
  });
}
WS_CASES(broadcast_to) {
  each(
      cases, {3, 1, 7},
      [](const Tensor& x) -> Tensors {
        return {broadcast_to(x, {2, 3, 4, 7}), expand_as(x, Tensor::zeros({3, 5, 7}))};
      },
      8);
}
WS_CASES(diagonal) {
  each(cases, {3, 9, 7}, [](const Tensor& x) -> Tensors {
    return {diagonal(x), diagonal(x, 2, 1, 2), diagonal(x, -3, 1, -1), diagonal(x, 5, 2, 0),
            diagonal(x, 100)};
  });
}
WS_CASES(diag_embed) {
  each(cases, {3, 7}, [](const Tensor& x) -> Tensors {
    return {diag_embed(x), diag_embed(x, 2, 0, 2), diag_embed(x, -1, 1, 0)};
  });
}
WS_CASES(diag) {
  each(cases, {5, 7}, [](const Tensor& x) -> Tensors {
    return {diag(x), diag(x, -2), diag(select(x, 0, 1), 1)};
  });
}
WS_CASES(resize_) {
  for (const DType t : kTypes)
    cases.add(name_of(t).data(), {random_input({5, 6}, t).constant()},
              [](const Tensors& in) -> Tensors {
                const Tensor y = clone(in[0]);
                resize_(y, {3, 4});
                const Tensor z = resize(in[0], {100, 50});
                return {y, narrow(view(z, {-1}), 0, 0, 30)};
              });
}

WS_CASES(as_strided) {
  each(
      cases, {3, 9, 7},
      [](const Tensor& x) -> Tensors {
        const Tensor y = clone(x);
        return {as_strided(y, {5, 4}, {7, 2}, 3), as_strided(y, {6, 3}, {1, 1}),
                as_strided(y, {2, 3, 4}, {0, 4, 2}, 1), as_strided(y, {0, 4}, {1, 1})};
      },
      8);
}
WS_CASES(narrow_copy) {
  each(cases, {3, 9, 7}, [](const Tensor& x) -> Tensors { return {narrow_copy(x, 1, 2, 4)}; });
}
WS_CASES(swapaxes) {
  each(cases, {3, 4, 7}, [](const Tensor& x) -> Tensors {
    return {swapaxes(x, 0, -1), swapdims(x, 1, 2)};
  });
}
WS_CASES(t) {
  each(cases, {4, 7}, [](const Tensor& x) -> Tensors { return {t(x), t(select(x, 0, 1))}; });
}
WS_CASES(mT) {
  each(cases, {3, 4, 7}, [](const Tensor& x) -> Tensors { return {mT(x)}; });
}
WS_CASES(ravel) {
  each(cases, {3, 4, 7}, [](const Tensor& x) -> Tensors { return {ravel(x)}; });
}
WS_CASES(fliplr) {
  each(cases, {3, 4, 7}, [](const Tensor& x) -> Tensors { return {fliplr(x), flipud(x)}; });
}
WS_CASES(column_stack) {
  joins(cases, column_stack, {3, 4}, {3});
  joins(cases, column_stack, {5}, {5, 2});
}
WS_CASES(block_diag) {
  joins(cases, block_diag, {3, 4}, {3});
  joins(cases, block_diag, {}, {5, 2});
}
WS_CASES(meshgrid) {
  for (const DType t : kTypes)
    cases
        .add(name_of(t).data(), {random_input({4}, t), random_input({3}, t), random_input({}, t)},
             [](const Tensors& in) -> Tensors {
               Tensors all = meshgrid(in);
               for (const Tensor& g : meshgrid(in, "xy")) all.push_back(g);
               return all;
             })
        .sums(12)
        .f64();
}
WS_CASES(diff) {
  each(
      cases, {3, 9, 7},
      [](const Tensor& x) -> Tensors {
        return {diff(x), diff(x, 2, 1), diff(x, 0), diff(x, 3, 0)};
      },
      4);
}
WS_CASES(trace) {
  each(
      cases, {9, 7}, [](const Tensor& x) -> Tensors { return {trace(x)}; }, 7);
}

}  // namespace wellspring
