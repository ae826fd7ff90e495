#pragma once
// Figures of a server for Prometheus.

#include <string>

namespace wellspring {

class Access;
class Models;

/// In Prometheus' text form, one series for each model.
std::string metrics_text(const Models& models, const Access& access);

}  // namespace wellspring
