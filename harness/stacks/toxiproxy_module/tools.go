//go:build tools

// Package tools pins Toxiproxy's server: this import makes `go mod tidy` keep it in go.mod and go.sum.
// The harness builds the pinned package itself, so that nothing of this file is ever compiled.
package tools

import _ "github.com/Shopify/toxiproxy/v2/cmd/server"
