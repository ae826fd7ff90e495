#pragma once
#include <map>
#include <string>
#include <string_view>

namespace wellspring {

/// Strings that a page defines with ".ds".
class ManStrings {
 public:
  void define(const std::string& name, const std::string& value) { values_[name] = value; }
  std::string get(const std::string& name) const;

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace wellspring
