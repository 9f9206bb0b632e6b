package stored

import (
	"os"
	"testing"

	"github.com/berth-oci/berth/test/scratch"
)

func TestMain(m *testing.M) { os.Exit(scratch.Run(m)) }
