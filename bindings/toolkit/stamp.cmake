# Ends an image with a hash of what it was made from: the same as bindings/emulator/register.cmake writes, and as
# src/KernelContrast/Devices/KernelSources.cs computes.
#   cmake -DIMAGE=... -DSOURCE=... -DCOMMON=<folder of the prelude> -P stamp.cmake, with the image in IMAGE.new
file(SHA256 "${SOURCE}" hashes)
file(GLOB headers "${COMMON}/*.cuh")
list(SORT headers)
foreach(header IN LISTS headers)
  file(SHA256 "${header}" hash)
  string(APPEND hashes "${hash}")
endforeach()
string(SHA256 hash "${hashes}")
file(APPEND "${IMAGE}.new" "\n// sources-sha256:${hash}\n")
file(RENAME "${IMAGE}.new" "${IMAGE}")
