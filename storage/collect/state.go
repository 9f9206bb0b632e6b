package collect

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"github.com/berth-oci/berth/storage/fsync"
)

// load reads what the last process has left. What cannot be read only costs another
// search.
func (c *Collector) load() {
	if c.options.State == "" {
		return
	}
	text, err := os.ReadFile(c.options.State)
	if err == nil {
		err = json.Unmarshal(text, &c.status)
	}
	if err != nil {
		c.status = Status{}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.options.Log.Warn("what the last sweeps did cannot be read", "file", c.options.State, "error", err)
	}
	c.status.Total = Freed{}
}

func (c *Collector) save() {
	if c.options.State == "" {
		return
	}
	text, err := json.Marshal(c.Status())
	if err == nil {
		err = fsync.Replace(c.options.State, append(text, '\n'), nil)
	}
	if err != nil {
		c.options.Log.Warn("what a sweep did cannot be written down", "file", c.options.State, "error", err)
	}
}
