# SPDX-License-Identifier: Apache-2.0
"""Hooks around a process snapshot, under the names of AWS's library of that name; a copy in the user's code goes before this one."""

_before = []
_after = []


def register_before_snapshot(func, *args, **kwargs):
	"""Called before the image is taken, the last registered first. Also a decorator."""
	_before.append((func, args, kwargs))
	return func


def register_after_restore(func, *args, **kwargs):
	"""Called in every instance made from the image, before its first event, the first registered first. Also a decorator."""
	_after.append((func, args, kwargs))
	return func


def get_before_snapshot():
	return _before


def get_after_restore():
	return _after
