#pragma once
// Figures of a server for Prometheus.

#include <string>

namespace wellspring {

class Access;
class Models;
class RequestFigures;

/// In Prometheus' text form, one series for each model.
std::string metrics_text(const Models& models, const Access& access, const RequestFigures& requests);
/// What stands before the series of one metric; `name` without "wellspring_".
std::string metric_head(const std::string& name, const char* type, const char* help);
/// NAME="VALUE", the value escaped.
std::string metric_label(const char* name, const std::string& value);

}  // namespace wellspring
