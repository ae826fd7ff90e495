#pragma once
// The filters by name. Inside of text/template: those of texts and numbers stand in
// filters_text.cpp, those of lists and mappings in filters_list.cpp.

#include <map>
#include <string_view>

#include "text/template/operators.h"

namespace wellspring::jinja {

using Filter = Value (*)(const Call&);
using FilterMap = std::map<std::string_view, Filter>;

const FilterMap& text_filters();
const FilterMap& list_filters();

}  // namespace wellspring::jinja
