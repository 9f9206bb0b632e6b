package reference

import "strings"

// Official is the namespace of the official images, which are known by the
// name below it: official/app is called app.
const Official = "official"

// Namespace is the first part of a repository's name.
func Namespace(repository string) string {
	namespace, _, _ := strings.Cut(repository, "/")
	return namespace
}

// Long turns the short name of an official image into the repository's: app
// into official/app.
func Long(name string) string { return Official + "/" + name }

// Short turns the name of a repository into the one by which it is known:
// official/app into app, any other into itself.
func Short(repository string) string { return strings.TrimPrefix(repository, Official+"/") }

// Folder is the official folder that a repository lies in: utils for
// official/utils/tunnel. It is "" for an official image in no folder, and for
// all that is not official.
func Folder(repository string) string {
	below, official := strings.CutPrefix(repository, Official+"/")
	folder, _, deep := strings.Cut(below, "/")
	if !official || !deep {
		return ""
	}
	return folder
}
