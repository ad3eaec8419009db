# SPDX-License-Identifier: Apache-2.0
"""What the Python runtime does around a process image; imported only where one is taken, so it costs no plain start anything.

All instances of an image begin with the same memory. What has to differ between them is made anew after the restore: the
environment, and the generators of random numbers that live in the process. Hash seeds, and instances of random.Random that
a program made itself (they do not tell whether they were given a seed), stay as they were.
"""
import os
import sys

# Set by before(), used by after().
_generators = []  # NumPy bit generators that took their seed from the system
_openssl = None


def _hooks(name):
	library = sys.modules.get("snapshot_restore_py")
	return getattr(library, name)() if library else []


def _find_generators():
	numpy = sys.modules.get("numpy.random")
	if numpy is None:
		return
	import gc

	gc.unfreeze()
	for found in gc.get_objects():
		if isinstance(found, numpy.Generator):
			bits = found.bit_generator
			seed = getattr(bits, "seed_seq", getattr(bits, "_seed_seq", None))
			entropy = getattr(seed, "entropy", None)
			# The system's has 128 bits; less is a seed that the program chose, and relies on.
			if isinstance(entropy, int) and entropy >> 64 and not any(bits is b for b in _generators):
				_generators.append(bits)
	gc.freeze()


def before():
	global _openssl
	hooks = _hooks("get_before_snapshot")
	while hooks:
		func, args, kwargs = hooks.pop()
		func(*args, **kwargs)
	_find_generators()
	if "_ssl" in sys.modules or "_hashlib" in sys.modules:
		import _ssl

		_openssl = _ssl
	reseed()  # what it sets up when it is called first is then in the image
	sys.stdout.flush()
	sys.stderr.flush()


def reseed():
	if "random" in sys.modules:
		sys.modules["random"].seed()
	if "numpy.random" in sys.modules:
		sys.modules["numpy.random"].seed()
	for bits in _generators:
		bits.state = type(bits)().state
	if _openssl is not None:
		# OpenSSL notices a fork by the process number, which is the same here. Its first generator takes new
		# entropy from the system with this, and the others follow it.
		_openssl.RAND_add(os.urandom(32), 32.0)


def after(body):
	"""body: NAME=value of the new instance, each with a NUL."""
	for pair in bytes(body).split(b"\0"):
		name, equals, value = pair.partition(b"=")
		if equals and name:
			os.environb[name] = value
	reseed()
	for func, args, kwargs in _hooks("get_after_restore"):
		func(*args, **kwargs)
