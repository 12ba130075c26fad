//go:build tools

// Package tools names what is built for tests: a server of S3's protocol, at a pinned version with its sums.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
