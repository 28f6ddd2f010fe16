# Writes the C++ file of an emulator module: the kernel source, then one registration per kernel found in it.
#   cmake -DSOURCE=... -DNAME=... -DOUTPUT=... -P register.cmake
# Kernels are written   extern "C" __global__ void [__launch_bounds__(n)] name(   on one line.
file(READ "${SOURCE}" text)
string(REGEX REPLACE "//[^\n]*" "" text "${text}")
string(REGEX MATCHALL "__global__" globals "${text}")
string(REGEX MATCHALL "extern \"C\" __global__ void (__launch_bounds__\\([^)\n]*\\) )?[A-Za-z_0-9]+\\(" signatures "${text}")
list(LENGTH globals global_count)
list(LENGTH signatures signature_count)
if(NOT global_count EQUAL signature_count OR signature_count EQUAL 0)
  message(FATAL_ERROR "${NAME}: found ${global_count} times __global__ but ${signature_count} signatures of the form\n"
    "  extern \"C\" __global__ void [__launch_bounds__(n)] name(\nwith the name on the same line. Write every kernel so.")
endif()
set(generated "// Generated from ${NAME}.\n#include \"${NAME}\"\n\n")
foreach(signature IN LISTS signatures)
  string(REGEX MATCH "([A-Za-z_0-9]+)\\($" name_match "${signature}")
  set(kernel "${CMAKE_MATCH_1}")
  set(threads 1024)
  if(signature MATCHES "__launch_bounds__\\(([^),]*)")
    set(threads "${CMAKE_MATCH_1}")
  endif()
  string(APPEND generated "KCE_REGISTER(${kernel}, ${threads})\n")
endforeach()
file(WRITE "${OUTPUT}" "${generated}")
