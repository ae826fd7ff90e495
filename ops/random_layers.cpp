// Random calls of the layers of models: attention, rotary embedding, rows of tables, dropout,
// losses, steps of optimizers; and of random operators.

#include "ops/attention.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/loss.h"
#include "ops/optimizer.h"
#include "ops/pointwise.h"
#include "ops/random.h"
#include "ops/random_entries.h"
#include "ops/rotary.h"
#include "ops/shape.h"

namespace wellspring::random_calls {
namespace {

DType model_dtype(C c) { return c.rarely(8) ? c.any_dtype() : c.coin() ? DType::f32 : DType::bf16; }

// Extents of attention; seldom ones that do not fit together.
struct Sizes {
  int64_t batch, queries, keys, heads, key_heads, width;
  explicit Sizes(C c) {
    static constexpr int64_t kWidths[] = {8, 1, 2, 16, 33, 40, 64};
    batch = 1 + c.below(2), queries = c.below(12), keys = c.coin() ? queries : c.below(20);
    key_heads = 1 + c.below(2), heads = key_heads * (1 + c.below(2)), width = c.of(kWidths);
    if (c.rarely(30)) ++heads;
  }
};

constexpr Entry kAttention[] = {
    {"attention",
     [](C c) -> Tensors {
       const Sizes z(c);
       const DType t = model_dtype(c);
       const Shape keys{z.batch, z.keys, z.key_heads, z.width};
       const Tensor q = c.tensor({z.batch, z.queries, z.heads, like(c, z.width)}, t);
       const Tensor k = c.tensor(keys, t), v = c.tensor(keys, t);
       const bool causal = c.coin();
       return {attention(q, k, v, causal, 0.25 * c.below(3))};
     }},
    {"attention_qkv",
     [](C c) -> Tensors {
       const Sizes z(c);
       const Tensor qkv = c.tensor(
           {z.batch, z.queries, z.heads + 2 * like(c, z.key_heads), z.width}, model_dtype(c));
       return {attention_qkv(qkv, z.heads, z.key_heads, c.coin())};
     }},
    {"attention_cached",
     [](C c) -> Tensors {
       const Sizes z(c);
       const DType t = model_dtype(c);
       const Shape keys{z.batch, z.keys, z.key_heads, z.width};
       NoGrad none;
       const Tensor q = c.tensor({z.batch, z.queries, z.heads, z.width}, t);
       const Tensor k = c.tensor(keys, t), v = c.tensor(keys, t);
       return {
           attention_cached(q, k, v, to(c.ids({z.batch}, 0, z.keys + 1), DType::i32), c.coin())};
     }},
    {"scaled_dot_product_attention",
     [](C c) -> Tensors {
       const Sizes z(c);
       const DType t = c.floating();
       const Shape keys{z.batch, z.key_heads, z.keys, z.width},
           scores{z.batch, 1, z.queries, z.keys};
       const Tensor q = c.tensor({z.batch, z.heads, z.queries, z.width}, t);
       const Tensor k = c.tensor(keys, t), v = c.tensor(keys, t);
       const Tensor mask = c.tensor_or_none(c.broadcastable(scores), c.coin() ? DType::boolean : t);
       const double drop = c.rarely(4) ? 0.25 : 0;
       const bool causal = c.rarely(3);
       return {scaled_dot_product_attention(q, k, v, mask, drop, causal, {}, c.below(4) > 0, 7)};
     }},
};

constexpr Entry kRotary[] = {
    {"rotary",
     [](C c) -> Tensors {
       const Sizes z(c);
       const Tensor x = c.tensor({z.batch, z.queries, z.heads, z.width}, model_dtype(c));
       NoGrad constant;  // of the tables
       const Shape table{std::max(z.queries, like(c, z.keys)), z.width / 2};
       const Tensor cos = c.tensor(table, DType::f32).detach(),
                    sin = c.tensor(table, DType::f32).detach();
       const Tensor places =
           c.coin() ? to(c.ids({z.batch, z.queries}, 0, table[0]), DType::i32) : Tensor();
       const int heads = c.below(5) - 1;
       return {rotary(x, cos, sin, places, heads)};
     }},
    {"apply_rotary_position_embedding",
     [](C c) -> Tensors {
       const Sizes z(c);
       const DType t = c.floating();
       const Tensor q = c.tensor({z.batch, z.queries, z.heads, z.width}, t);
       const Tensor k = c.tensor({z.batch, z.queries, z.key_heads, z.width}, t);
       const Shape table{std::max(z.queries, like(c, z.keys)), z.width / 2};
       const DType of_tables = c.floating();
       const Tensor cos = c.tensor(table, of_tables).detach(),
                    sin = c.tensor(table, of_tables).detach();
       const Tensor places = c.coin() ? c.ids({z.batch, z.queries}, 0, table[0]) : Tensor();
       return list_of(apply_rotary_position_embedding(q, k, cos, sin, places, c.coin()));
     }},
};

constexpr Entry kEmbeddings[] = {
    {"embedding",
     [](C c) -> Tensors {
       const int64_t rows = 1 + c.below(30);
       const Tensor w = c.tensor({rows, c.below(20)}, c.floating());
       return {embedding(w, c.ids(c.shape(), 0, rows))};
     }},
    {"embedding dtype",
     [](C c) -> Tensors {
       const int64_t rows = 1 + c.below(30);
       const Tensor w = c.tensor({rows, c.below(20)}, c.floating()),
                    ids = c.ids(c.shape(), 0, rows);
       return {embedding(w, ids, c.floating())};
     }},
    {"embedding padding_idx",
     [](C c) -> Tensors {
       const int64_t rows = 1 + c.below(30);
       const Tensor w = c.tensor({rows, c.below(20)}, c.floating()),
                    ids = c.ids(c.shape(), 0, rows);
       const int64_t padding = c.below(20) - 2;
       return {embedding(w, ids, padding, c.coin())};
     }},
};

constexpr Entry kDropouts[] = {
    {"dropout", [](C c, X x) -> Tensors { return {dropout(x, 0.25 * c.below(5), 7, c.below(90))}; },
     real},
    {"dropout_train",
     [](C c, X x) -> Tensors {
       const double p = 0.25 * c.below(6);
       const bool train = c.coin();
       return {dropout_train(x, p, train, uint64_t{7}, c.below(90))};
     },
     real},
    {"native_dropout",
     [](C c, X x) -> Tensors {
       const double p = 0.25 * c.below(5);
       return list_of(native_dropout(x, p, c.coin(), uint64_t{7}, c.below(90)));
     },
     real},
};

// A loss of two tensors that broadcast.
template <Tensor (*loss)(X, X, std::string_view)>
Tensors of_two(C c, X x) {
  const Tensor y = c.tensor(c.broadcastable(x.shape()), c.rarely(6) ? c.floating() : x.dtype());
  return {loss(x, y, reduction(c))};
}
template <Tensor (*loss)(X, X, std::string_view, double)>
Tensors of_two_with(C c, X x) {
  const Tensor y = c.tensor(c.broadcastable(x.shape()), x.dtype());
  const char* how = reduction(c);
  return {loss(x, y, how, 0.5 * c.below(4))};
}

constexpr Entry kLosses[] = {
    {"cross_entropy_loss",
     [](C c) -> Tensors {
       const int64_t n = c.below(20), k = 1 + c.below(40);
       const DType t = c.floating();
       const Tensor x = c.tensor({n, k}, t), ids = c.ids({n}, 0, k);
       const char* how = reduction(c);
       return {cross_entropy_loss(x, ids, Tensor(), how, c.below(3), 0.25 * c.below(3))};
     }},
    {"cross_entropy",
     [](C c) -> Tensors {
       const int64_t n = c.below(20), k = 1 + c.below(40);
       const Tensor x = c.tensor({n, k}, model_dtype(c));
       return {cross_entropy(x, c.ids({n}, 0, k), c.below(3))};
     }},
    {"linear_cross_entropy",
     [](C c) -> Tensors {
       const int64_t n = c.below(20), k = 1 + c.below(40), d = 1 + c.below(20);
       const DType t = model_dtype(c);
       const Tensor x = c.tensor({n, d}, t), w = c.tensor({k, like(c, d)}, t);
       return {linear_cross_entropy(x, w, c.ids({n}, 0, k), 0.5, 1 + c.below(2), c.below(3))};
     }},
    {"nll_loss",
     [](C c) -> Tensors {
       const int64_t n = c.below(20), k = 1 + c.below(40);
       const Tensor x = c.tensor({n, k}, c.floating()), ids = c.ids({n}, 0, k);
       return {nll_loss(x, ids, Tensor(), reduction(c), c.below(3))};
     }},
    {"nll_loss_nd",
     [](C c) -> Tensors {
       const int64_t n = c.below(4), k = 1 + c.below(9), h = c.below(6), w = c.below(6);
       const Tensor x = c.tensor({n, k, h, w}, c.floating()), ids = c.ids({n, h, w}, 0, k);
       return {nll_loss_nd(x, ids, Tensor(), reduction(c), c.below(3))};
     }},
    {"mse_loss", of_two<mse_loss>, real},
    {"l1_loss", of_two<l1_loss>, real},
    {"soft_margin_loss", of_two<soft_margin_loss>, real},
    {"huber_loss", of_two_with<huber_loss>, real},
    {"smooth_l1_loss", of_two_with<smooth_l1_loss>, real},
    {"binary_cross_entropy_with_logits",
     [](C c, X x) -> Tensors {
       const Tensor y = c.tensor(x.shape(), x.dtype());
       return {binary_cross_entropy_with_logits(x, y, c.tensor_or_none(x.shape(), x.dtype()),
                                                Tensor(), reduction(c))};
     },
     real},
    {"kl_div",
     [](C c, X x) -> Tensors {
       const Tensor y = c.tensor(x.shape(), x.dtype());
       const char* how = reduction(c);
       return {kl_div(x, y, how, true)};
     },
     real},
};

constexpr Entry kOptimizers[] = {
    {"adamw_",
     [](C c) -> Tensors {
       NoGrad none;
       const Shape s = c.shape();
       const auto state = [&] { return clone(c.tensor(s, DType::f32).detach()); };
       const Tensor master = state(), m = state(), v = mul(state(), 0);
       const Tensor grad = c.tensor(c.rarely(20) ? c.shape() : s, DType::f32).detach();
       const Tensor copy = c.coin() ? Tensor::zeros(s, DType::bf16) : Tensor();
       AdamwOptions o;
       o.lr = 0.25 * c.below(3), o.beta1 = 0.25 * c.below(5), o.beta2 = 0.25 * c.below(4);
       o.weight_decay = 0.25 * c.below(2), o.step = c.below(5), o.grad_scale = 0.5 * c.below(4);
       o.eps = 0.125;  // a step by less would be as uncertain as the sign of a gradient near 0
       adamw_(master, grad, m, v, copy, o);
       return {master, m, v, copy};
     }},
    {"global_norm",
     [](C c) -> Tensors {
       NoGrad none;
       Tensors all;
       for (int n = c.below(4); n > 0; --n)
         all.push_back(c.tensor(c.shape(), model_dtype(c)).detach());
       return {Tensor::from(std::vector<float>{static_cast<float>(global_norm(all))}, {1})};
     }},
};

// Where the draws begin.
constexpr uint64_t kSeed = 20261126;
uint64_t place(C c) { return static_cast<uint64_t>(c.below(200)); }
Tensor target(C c) {
  NoGrad none;
  return clone(some(c).detach());
}

constexpr Entry kRandom[] = {
    {"rand", [](C c) -> Tensors { return {rand(c.shape(), c.any_dtype(), {}, kSeed, place(c))}; }},
    {"randn", [](C c) -> Tensors { return {randn(c.shape(), c.floating(), {}, kSeed, place(c))}; }},
    {"uniform_",
     [](C c, X x) -> Tensors {
       const int low = c.below(3);
       return {uniform_(x, low, low + c.below(4) - 1, kSeed, place(c))};
     },
     target},
    {"normal_",
     [](C c, X x) -> Tensors {
       const double mean = c.below(3);
       return {normal_(x, mean, c.below(4) - 1, kSeed, place(c))};
     },
     target},
    {"exponential_",
     [](C c, X x) -> Tensors { return {exponential_(x, c.below(3), kSeed, place(c))}; }, target},
    {"bernoulli_",
     [](C c, X x) -> Tensors { return {bernoulli_(x, 0.25 * c.below(6), kSeed, place(c))}; },
     target},
    {"random_",
     [](C c, X x) -> Tensors {
       const int low = c.below(9) - 2;
       return {random_(x, low, low + c.below(20), kSeed, place(c))};
     },
     target},
    {"geometric_",
     [](C c, X x) -> Tensors { return {geometric_(x, 0.25 * c.below(5), kSeed, place(c))}; },
     target},
    {"randint",
     [](C c) -> Tensors {
       const Shape s = c.shape();
       const int low = c.below(9) - 4;
       const DType t = c.any_dtype();
       return {randint(low, low + c.below(20), s, t, {}, kSeed, place(c))};
     }},
    {"randperm",
     [](C c) -> Tensors {
       const int n = c.below(200) - 1;
       return {randperm(n, c.any_dtype(), {}, kSeed, place(c))};
     }},
    {"bernoulli", [](C c, X x) -> Tensors { return {bernoulli(x, kSeed, place(c))}; }},
    {"multinomial",
     [](C c) -> Tensors {
       const Tensor w = c.tensor({1 + c.below(5), 1 + c.below(20)}, c.floating()).detach();
       const int draws = c.below(9);
       return {multinomial(mul(w, w), draws, c.coin(), kSeed, place(c))};
     }},
};
}  // namespace

Tensors call_attention(Choices& c) { return one_of(c, kAttention); }
Tensors call_rotary(Choices& c) { return one_of(c, kRotary); }
Tensors call_embedding(Choices& c) { return one_of(c, kEmbeddings); }
Tensors call_dropout(Choices& c) { return one_of(c, kDropouts); }
Tensors call_loss(Choices& c) { return one_of(c, kLosses); }
Tensors call_optimizer(Choices& c) { return one_of(c, kOptimizers); }
Tensors call_random(Choices& c) { return one_of(c, kRandom); }

}  // namespace wellspring::random_calls
