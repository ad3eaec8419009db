/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tandemd says when it dies of a signal of its own making (SIGSEGV, SIGABRT ...): what it was, which build, where, and
 * the last moves (base/moves.h), as lines on stderr. It then dies of that signal all the same. No memory is shown: keys
 * and functions' secrets are in it.
 */
#pragma once
void crash_init(void);
