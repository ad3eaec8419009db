# SPDX-License-Identifier: Apache-2.0
.PHONY: demo demo-stop
demo: ## install what is missing, build, run examples/iris-service and call it (needs root)
	@examples/demo.sh
demo-stop: ## end what `make demo` left running
	@examples/demo.sh --stop
