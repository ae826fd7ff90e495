#pragma once
// The archive of a workdir that goes with a job: a tar file that depends on the content alone, so
// that the same folder is uploaded once.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "cluster/job/job_file.h"

namespace wellspring::cluster {

struct WorkdirArchive {
  std::string sha256;   // of the archive, hexadecimal: JobSpec::snapshot
  int64_t bytes = 0;    // of the archive
  int64_t content = 0;  // of the files in it
  int64_t entries = 0;  // files, folders and links
};

/// Writes the archive of `workdir` through `sink`, piece by piece, and returns its hash. Without a
/// sink it is only hashed.
/// The archive is ustar with pax headers for what does not fit, for `tar -x` (GNU tar): names
/// sorted bytewise, all owned by 0, mode 755 or 644 by the owner's x bit, one fixed time
/// (2000-01-01), links as links, empty folders too. `.git` and what `.wellspringignore` and
/// `workdir.exclude` match is left out (ignore.h). Errors: Fault::config when the files have more
/// than workdir.limit bytes or there are more than a million of them (the message names the biggest
/// folders), or one is neither file, folder nor link; Fault::io when one cannot be read;
/// Fault::try_again when the folder changed meanwhile, so that the archive would be of no moment.
WorkdirArchive write_archive(const Workdir& workdir,
                             const std::function<void(std::string_view)>& sink = nullptr);

/// write_archive into a file (atomically), tried again up to twice when the folder changes.
WorkdirArchive write_archive_file(const Workdir& workdir, const std::string& path);

}  // namespace wellspring::cluster
