// Package registry serves everything under /v2: the distribution registry,
// embedded, behind a router of its own that lets through only what it has
// understood, and with a hook that tells the catalog of every change inside the
// request that makes it.
//
// What the embedded registry lacks of the OCI distribution specification is
// completed here, in pieces that can be deleted on the day it does it itself.
// Each cites the section that it completes:
//
//	file            section                                    what
//	route.go        API                                        the endpoints and their methods, names and digests; everything else is refused
//	route.go        Pulling manifests                          the names that repositories may have
//	problem.go      Error Codes                                errors are always the specification's JSON, and show nothing of the server
//	serve.go        Pulling manifests                          manifests whatever the client accepts, in parts and on conditions
//	serve.go        Pulling blobs                              blobs from the index and the file, in parts and on conditions
//	manifests.go    Pushing Manifests                          any digest, tags as parameters, If-Match and If-None-Match, sizes
//	manifests.go    Pushing Manifests with Subject             the OCI-Subject header
//	manifests.go    Deleting Manifests                         a manifest with its tags and names; tags that moved meanwhile stay
//	verify.go       Pushing Manifests                          missing blobs are named; foreign layers and sparse indexes are taken
//	blobdigests.go  Digests                                    blobs under any digest, on every path
//	hook.go         Deleting Blobs                             a blob with all its names
//	uploads.go      Single POST                                a blob in one request
//	uploads.go      Pushing a blob in chunks                   chunks out of order, and two clients at once, are told how far it has come
//	uploads.go      Mounting a blob from another repository    any digest, and from wherever the caller may read
//	referrers.go    Listing Referrers                          filtered, in pages, empty for what nobody knows
//	referrers.go    Referrers Tag Schema                       what older clients pushed is merged
//	lists.go        Listing Tags                               sorted, with exact pages, from the index
package registry
