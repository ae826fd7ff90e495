#include "data/output_folder.h"

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace wellspring {

OutputFolder::OutputFolder(const std::string& folder, const std::string& mark, bool force)
    : folder_(folder) {
  while (folder_.size() > 1 && folder_.back() == '/') folder_.pop_back();
  if (folder_.empty()) throw Error(Fault::usage, "the output folder's name is empty");
  partial_ = folder_ + ".partial";
  if (exists(folder_)) {
    if (!is_directory(folder_))
      throw Error(Fault::usage, str(folder_, " is a file, not a folder: choose another --out"));
    bool ours = exists(join_path(folder_, mark));
    if (!ours && !list_directory(folder_).empty())
      throw Error(Fault::usage, str(folder_, " is not empty and holds no ", mark,
                                    ": choose another --out, or remove it"));
    if (ours && !force)
      throw Error(Fault::usage,
                  str(folder_, " holds a complete result of other inputs or options: ",
                      "give --force to replace it, or choose another --out"));
  }
  remove_all(partial_);
  make_directories(partial_);
}

OutputFolder::~OutputFolder() {
  if (committed_) return;
  try {
    remove_all(partial_);
  } catch (const Error&) {
    // The next attempt removes it.
  }
}

std::string OutputFolder::path(const std::string& name) const { return join_path(partial_, name); }

void OutputFolder::commit() {
  if (exists(folder_)) {
    const std::string old = folder_ + ".old";
    remove_all(old);
    rename_synced(folder_, old);
    rename_synced(partial_, folder_);
    remove_all(old);
  } else {
    rename_synced(partial_, folder_);
  }
  committed_ = true;
}

}  // namespace wellspring
