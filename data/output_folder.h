#pragma once
// A folder that appears whole or not at all.

#include <string>
#include <vector>

#include "base/json_fwd.h"

namespace wellspring {

/// Builds `folder` inside "folder.partial". `mark` is the file whose presence says that a folder is
/// one of ours ("dataset.json").
class OutputFolder {
 public:
  /// Removes what an earlier, killed attempt left. Error(Fault::usage) when `folder` exists, is not
  /// empty and has no `mark`, or is complete and `force` is not given.
  OutputFolder(const std::string& folder, const std::string& mark, bool force);
  /// Removes the partial folder unless commit() was called.
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  std::string path(const std::string& name) const;
  void commit();

 private:
  std::string folder_, partial_;
  bool committed_ = false;
};

}  // namespace wellspring
