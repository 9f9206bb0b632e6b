package bolt

import (
	"fmt"
	"testing"

	bbolt "go.etcd.io/bbolt"
)

func dumpStats(t testing.TB, x *Index, n int) {
	_ = x.db.View(func(tx *bbolt.Tx) error {
		var inuse, alloc int
		for tb := range tables {
			s := tx.Bucket(tableNamesInFile[tb]).Stats()
			inuse += s.LeafInuse
			alloc += s.LeafAlloc + s.BranchAlloc
			fmt.Printf("%-14s keys/img %.2f inuse/img %d leaf/img %d branch/img %d fill %.2f\n", tableNamesInFile[tb], float64(s.KeyN)/float64(n), s.LeafInuse/n, s.LeafAlloc/n, s.BranchAlloc/n, float64(s.LeafInuse)/float64(max(s.LeafAlloc, 1)))
		}
		kinds := map[byte][2]int{}
		_ = tx.Bucket(tableNamesInFile[tableRepositories]).ForEach(func(k, v []byte) error {
			c := kinds[k[4]]
			kinds[k[4]] = [2]int{c[0] + 1, c[1] + len(k) + len(v) + 16}
			return nil
		})
		for k, c := range kinds {
			fmt.Printf("  kind %q: %.2f keys, %d bytes/img\n", k, float64(c[0])/float64(n), c[1]/n)
		}
		st := x.db.Stats()
		fmt.Println("total inuse", inuse/n, "alloc", alloc/n, "free pages", st.FreePageN, "pending", st.PendingPageN, "file/img", tx.Size()/int64(n))
		return nil
	})
}
