#pragma once
// Places at which a test may end the process or fail an operation, as a crash or a full disk would.

namespace wellspring {

using FaultHook = void (*)(const char* place);
/// Called at each fault point from now on; null (the default): nothing is. Only test programs set it.
void set_fault_hook(FaultHook hook);
/// "store.commit": `place` names it, for the hook. Costs one load where there is no hook.
void fault_point(const char* place);

}  // namespace wellspring
