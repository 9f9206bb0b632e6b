//go:build !unix

package access

// adopt is for systems where a new file could belong to someone who is not
// berth.
func adopt(_, _ string) error { return nil }
