/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a workload runs. function: instances come and go with the requests, and each serves one at a time. container:
 * instances are kept up with fixed resources, and each serves several at once. vm: what a machine of one's own would be;
 * nothing runs there, the advisor only names it.
 */
#pragma once
enum lane { LANE_FUNCTION, LANE_CONTAINER, LANE_VM, LANE_N };
extern const char *const lane_name[LANE_N];
/* As tandem.yaml has it; auto: whichever costs less, and it moves when that changes; auto-dry: it stays, and says when it would
 * move. */
enum lane_wish { LANE_WISH_FUNCTION, LANE_WISH_CONTAINER, LANE_WISH_AUTO, LANE_WISH_DRY, LANE_WISH_N };
extern const char *const lane_wish_name[LANE_WISH_N];
