package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/catalog/index"
)

// dump prints all that does not tell of the past. Numbers do: the names that they
// stand for take their place.
func dump(t testing.TB, x index.Index) string {
	t.Helper()
	var lines []string
	err := x.(*Index).view(t.Context(), "dump", func(s *session) error {
		spaces := make(map[uint32]string)
		err := s.at(tableSpaces).ForEach(func(k, v []byte) error {
			known, err := decodeSpace(v)
			spaces[known.number] = string(k)
			return err
		})
		if err != nil {
			return err
		}
		for tb := range tables {
			err := s.at(tb).ForEach(func(k, v []byte) error {
				line, err := dumpLine(s, spaces, tb, k, v)
				if line != "" {
					lines = append(lines, line)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func dumpLine(s *session, spaces map[uint32]string, tb table, k, v []byte) (string, error) {
	name := func(b []byte) (string, error) { return s.nameOf(binary.BigEndian.Uint32(b)) }
	switch tb {
	case tableReorders, tablePending, tableDirty, tableIdle, tableGone, tableChanges, tableFormer:
		return "", nil
	case tableMeta:
		past := [][]byte{keyRemains, keyKept, keyUptime, keyStart, keyMark}
		if slices.ContainsFunc(past, func(key []byte) bool { return bytes.Equal(key, k) }) {
			return "", nil
		}
	case tableNames:
		known, err := decodeRepository(v)
		known.number, known.last = 0, 0
		return fmt.Sprintf("%d %q %+v", tb, k, known), err
	case tableSpaces:
		known, err := decodeSpace(v)
		if known.repositories == 0 {
			return "", err
		}
		known.number, known.remains = 0, 0
		return fmt.Sprintf("%d %q %+v", tb, k, known), err
	case tableRepositories, tableQueue:
		if k := kind(k[numberLength]); (k == kindPushed || k == kindPulled) && tb == tableRepositories {
			return "", nil
		}
		repository, err := name(k)
		if kind(k[numberLength]) == kindLink && tb == tableRepositories && err == nil {
			var l link
			l, err = decodeLink(v)
			v = fmt.Appendf(nil, "%d %v", l.size, l.idle)
		}
		return fmt.Sprintf("%d %s %q %q", tb, repository, k[numberLength:], v), err
	case tableNamespaces:
		if kind(k[numberLength]) == kindName {
			return "", nil
		}
		space, there := spaces[binary.BigEndian.Uint32(k)]
		if !there {
			return "", errValue
		}
		switch kind(k[numberLength]) {
		case kindTime:
			repository, err := name(v)
			return fmt.Sprintf("%d %s %q %s %q", tb, space, k[numberLength:], repository, v[numberLength:]), err
		}
		return fmt.Sprintf("%d %s %q %q", tb, space, k[numberLength:], v), nil
	case tableTimes, tableUUIDs:
		repository, err := name(v)
		return fmt.Sprintf("%d %q %s %q", tb, k, repository, v[numberLength:]), err
	}
	return fmt.Sprintf("%d %q %q", tb, k, v), nil
}
