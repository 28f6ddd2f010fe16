// Hands the blocks of a launch to a pool of OS threads.
#pragma once
#include "block.h"

namespace kce
{
// Runs every block, and returns when the last has ended. A fault ends the launch early.
void run_grid(const Launch& launch);
}
