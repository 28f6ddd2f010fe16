// Error codes of the driver API and the text that says what happened.
#pragma once
#include <string>

namespace kce
{
// Values of CUresult.
enum Result
{
    Success = 0,
    InvalidValue = 1,
    OutOfMemory = 2,
    NotInitialized = 3,
    InvalidDevice = 101,
    InvalidImage = 200,
    InvalidContext = 201,
    SharedObjectInitFailed = 303,
    InvalidHandle = 400,
    NotFound = 500,
    IllegalAddress = 700,
    LaunchTimeout = 702,
    LaunchFailed = 719,
    NotSupported = 801,
    CaptureUnsupported = 900,
    IllegalState = 401,
};

// Keeps the text for kceErrorDetail and returns the code.
Result error(Result code, const std::string& detail);

// A fault inside a kernel: as on a GPU it stays, and every later call reports it until the context is reset. The
// first fault wins. `pc`, when given, is the code address it happened at; locate_fault adds its source line.
void record_fault(Result code, const std::string& detail, const void* pc = nullptr);
void locate_fault();
Result fault();
void clear_fault();

std::string error_detail();
const char* error_name(int code);
const char* error_text(int code);
}
