#pragma once
// Grammars over one request's tokens.

#include <memory>
#include <string>
#include <vector>

#include "serve/engine.h"
#include "text/grammar/grammar.h"

namespace wellspring {

class ModelText;

/// Tokens by a grammar from the answer's first on. `text` must outlive it.
std::unique_ptr<TokenConstraint> constrain(const Grammar& grammar, const ModelText& text);
/// Any tokens until `trigger` stands in the answer; what follows it is by the grammar. An empty trigger: an answer that
/// begins with '{' is by the grammar, any other is free.
std::unique_ptr<TokenConstraint> constrain_after(std::string trigger, const Grammar& grammar, const ModelText& text);

/// These tokens alone, of the `vocab` that there are; at least one.
std::unique_ptr<TokenConstraint> constrain_to(const std::vector<int32_t>& tokens, int64_t vocab);

}  // namespace wellspring
