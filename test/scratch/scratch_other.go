//go:build !linux

package scratch

const memory = ""

func inMemory(string) (dir string, remove func()) { return "", func() {} }
