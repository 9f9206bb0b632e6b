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

func (r *rooted) datasync(f file) error { return datasync(f) }

func (r *rooted) space() int64 {
	f, err := r.root.Open(".")
	if err != nil {
		return 0
	}
	defer f.Close()
	var s unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(int(f.Fd()), &s) }); err != nil {
		return 0
	}
	return int64(s.Blocks) * s.Bsize
}
