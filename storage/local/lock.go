package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gofrs/flock"
)

// lockPatience is how long a folder that is in use is waited for: commands look
// into one for a moment.
const lockPatience = time.Second

// lock takes the root for one driver. A second one would take the journal of the
// first for one that a crash has left, and what it is writing for rubbish. The lock
// is on the folder itself, ends with the process, and leaves nothing behind; where
// folders cannot be locked, there is none.
func lock(root string) (unlock func() error, err error) {
	l := flock.New(root, flock.SetFlag(os.O_RDONLY))
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	_, err = l.TryLockContext(ctx, 5*time.Millisecond)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s is in use by another berth: stop it first, or choose another folder", root)
	}
	return l.Close, nil
}
