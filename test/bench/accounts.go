package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/load"
)

// accountRounds are enough for an interval of a few percent.
const accountRounds = 10

// accountSlices are as many turns within each.
const accountSlices = 6

// runAccounts compares a berth that has accounts with one that has none.
func runAccounts(ctx context.Context, b *bench) error {
	open, err := b.start(ctx, b.programs[0], false)
	if err != nil {
		return err
	}
	closed, err := b.start(ctx, b.programs[0], false)
	if err != nil {
		return err
	}
	sides := []*side{newSide("with accounts", closed), newSide("without", open)}
	if sides[0].target.Authorization, err = addAccounts(b, closed.Data); err != nil {
		return err
	}
	image, blob := tinyImage(), load.Random(64<<10)
	err = onEach(sides, func(_ *side, c *load.Conn) error {
		if err := c.PushBlob(pulled, blob); err != nil {
			return err
		}
		return c.Push(pulled, pulledTag, image)
	})
	if err != nil {
		return err
	}
	rounds := max(b.rounds, accountRounds)
	if b.small {
		rounds = b.rounds
	}
	var images []load.Image
	count := b.times(96, 4)
	for _, w := range []work{
		{
			row: figures.Row{Name: "accounts, GET manifest by tag"}, amount: load.Amount{Time: b.time},
			do: func(_ *side, _ int, c *load.Conn, _ int) error { return c.Manifest(pulled, pulledTag, image.Index) },
		},
		{
			row: figures.Row{Name: "accounts, GET blob of 64K", Bytes: blob.Size}, amount: load.Amount{Time: b.time},
			do: func(_ *side, _ int, c *load.Conn, _ int) error { return c.Blob(pulled, blob) },
		},
		{
			row: figures.Row{Name: "accounts, push, tiny"}, amount: load.Amount{Count: count},
			before: func(int) error {
				images = newImages(count, tinyImage)
				return nil
			},
			do: func(_ *side, round int, c *load.Conn, n int) error {
				return c.Push("user/"+fmt.Sprint("app", n%repositories), fmt.Sprintf("v%d-%d", round, n), images[n])
			},
		},
	} {
		w.row.Connections, w.row.Compare, w.row.Confidence = 4, against(sides), true
		w.sides, w.rounds, w.slices = sides, rounds, accountSlices
		if w.amount.Count > 0 {
			w.slices = 2
		}
		if err := b.compare(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// addAccounts adds the account that pushes and pulls, and others, and returns
// how it shows who it is.
func addAccounts(b *bench, data string) (authorization string, err error) {
	for n := range 20 {
		if _, err := b.programs[0].Run("account", "--data", data, "add", fmt.Sprint("other", n)); err != nil {
			return "", err
		}
	}
	said, err := b.programs[0].Run("account", "--data", data, "--output", "json", "add", "user")
	if err != nil {
		return "", err
	}
	var account struct{ Name, Token string }
	if err := json.Unmarshal(said, &account); err != nil || account.Token == "" {
		return "", fmt.Errorf("berth account add: no token in %s (%v)", said, err)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(account.Name+":"+account.Token)), nil
}
