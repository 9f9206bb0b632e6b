package local

import "golang.org/x/sys/unix"

func (r *rooted) settled() (bool, error) {
	f, err := r.root.Open(".")
	if err != nil {
		return false, err
	}
	defer f.Close()
	return true, again(func() error { return unix.Syncfs(int(f.Fd())) })
}
