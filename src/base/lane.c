/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lane.h"

const char *const lane_name[LANE_N] = {"function", "container", "vm"};
const char *const lane_wish_name[LANE_WISH_N] = {"function", "container", "auto", "auto-dry"};
