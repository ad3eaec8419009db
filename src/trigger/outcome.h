/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows from an asynchronous event: how often and how long it is tried, and where its result goes
 * (EventInvokeConfig, record "async/FUNCTION:QUALIFIER"; DeadLetterConfig, of the function's revision). Results are part
 * of the transaction that forgets the event: none is lost, and none is told twice.
 */
#pragma once
#include "trigger/deliver.h"
/* doc: MaximumRetryAttempts, MaximumEventAgeInSeconds, DestinationConfig; it replaces what there was. qualifier ""
 * is $LATEST. project NULL: by the API. Errors: ERR_INVALID; ERR_NOT_FOUND: there is no such destination. */
int outcome_put(struct deliver *d, struct store *s, const char *function, const char *qualifier, const struct json *doc,
		const char *project, struct store_tx *tx, struct err *e);
char *outcome_key(const char *function, const char *qualifier); /* of the record; the caller frees */
/* Adds what o leads to; what cannot be told is noted (deliver_failure). */
void outcome_add(struct deliver *d, const struct store *s, const struct async_over *o, struct store_tx *tx);
