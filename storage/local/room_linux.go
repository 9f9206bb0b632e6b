package local

import "golang.org/x/sys/unix"

// Room is how many bytes the file system below the root has for who is not root,
// and how many it has in all.
func (d *Driver) Room() (free, size int64, err error) {
	b, ok := d.files.files.(interface{ descriptor() int })
	if !ok {
		return 0, 0, unix.ENOSYS
	}
	var s unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(b.descriptor(), &s) }); err != nil {
		return 0, 0, err
	}
	block := s.Frsize
	if block == 0 {
		block = s.Bsize
	}
	return int64(s.Bavail) * block, int64(s.Blocks) * block, nil
}

func (b *beneath) descriptor() int { return b.fd }
