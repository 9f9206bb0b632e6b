package storage

import "context"

type askerKey struct{}

// AskedBy returns a context in which whatever changes is asked for by an account.
func AskedBy(ctx context.Context, account string) context.Context {
	if account == "" {
		return ctx
	}
	return context.WithValue(ctx, askerKey{}, account)
}

// Asker is the account of [AskedBy], "" for none.
func Asker(ctx context.Context) string {
	account, _ := ctx.Value(askerKey{}).(string)
	return account
}
