#pragma once
// The chat page (web/chat), compiled into the library.

#include <string_view>
#include <vector>

namespace wellspring {

struct ChatFile {
  std::string_view path;  // "/chat/chat.js"
  std::string_view text;
};

/// All of them, in no order; "/chat/index.html" is the page itself.
const std::vector<ChatFile>& chat_files();

}  // namespace wellspring
