//go:build tools

// Package tools names what is built for tests: a real API server, at a pinned version with its sums.
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
