#pragma once
// What the client of `wellspring job exec` and the node say to each other, through the controller:
// frames (base/frames.h) on channel 0.

#include <cstdint>

namespace wellspring::cluster {

enum class TerminalFrame : uint8_t {
  input = 'i',      // client: bytes for the command
  input_end = 'e',  // client: no more of them
  size = 's',       // client: "ROWS COLUMNS" of its terminal, when they have changed
  output = 'o',     // node: bytes of its standard output, or of its terminal
  error = 'r',      // node: bytes of its standard error
  ended = 'x'       // node: "STATUS REASON", the last one; a reason: it was not started, or lost
};

}  // namespace wellspring::cluster
