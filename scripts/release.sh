#!/usr/bin/env bash
# Makes a release: version, changelog, commit, tag, images, GitHub. docs/deployment/images.md
#
# All of it is prepared in a clone below target/, so that an interruption leaves this checkout, its tags and the remote as
# they were. Commit and tag reach the remote in one push, or not at all; what follows that can be done again, and is when the
# same command is run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: scripts/release.sh [OPTION…]

  -t, --type patch|minor|major  which part of the version goes up (default: patch)
  -d, --dry-run                 print the commands and run none of them
      --skip-tests              do not run `make lint test` first
      --skip-build              build and push no images
      --github-release          make a release on GitHub too, with `gh`
  -r, --registry REGISTRY       push images there, such as ghcr.io/terragonlabs (or REGISTRY)
      --no-push-tags            leave commit and tag in this checkout, and push nothing at all
  -h, --help                    show this

Variables: RELEASE_BRANCH (main), RELEASE_REMOTE (origin). Commit and tag are signed where git's user.signingkey is set.
Run it again after an interruption: it goes on where that was. Exit codes: 0 done, 1 tests, build or push failed, 2 bad usage
or a checkout that cannot be released, 3 something needed is missing.
USAGE
}

say() { printf 'release.sh: %s\n' "$*" >&2; }
refuse() { say "$1"; exit 2; }
fail() { say "$1; nothing was changed here or at $remote, so run the same command again"; exit 1; }
step() { printf '== %s\n' "$*" >&2; }

type=patch dry_run=false tests=true build=true github=false push=true registry="${REGISTRY-}"
branch="${RELEASE_BRANCH:-main}" remote="${RELEASE_REMOTE:-origin}"
value() { if [ -z "${2-}" ]; then refuse "$1 needs a value; see --help"; fi; printf '%s' "$2"; }
while [ $# -gt 0 ]; do
  case "$1" in
    -t | --type) type="$(value "$@")"; shift ;;
    -r | --registry) registry="$(value "$@")"; shift ;;
    -d | --dry-run) dry_run=true ;;
    --skip-tests) tests=false ;;
    --skip-build) build=false ;;
    --github-release) github=true ;;
    --no-push-tags) push=false ;;
    -h | --help) usage; exit 0 ;;
    *) refuse "unknown option \`$1\`; see --help" ;;
  esac
  shift
done
case "$type" in patch | minor | major) ;; *) refuse "\`$type\` is neither patch, minor nor major" ;; esac
if [ "$github" = true ] && [ "$push" = false ]; then refuse "--github-release takes a tag that is pushed; leave --no-push-tags away"; fi

# --- what it takes
for tool in git awk sed; do
  command -v "$tool" >/dev/null || { say "$tool is missing; install it"; exit 3; }
done
if [ "$github" = true ] && [ "$dry_run" = false ]; then
  command -v gh >/dev/null || { say "--github-release takes the GitHub CLI; install it (https://cli.github.com)"; exit 3; }
  gh auth status >/dev/null 2>&1 || { say "the GitHub CLI is not logged in; run gh auth login"; exit 3; }
fi
git rev-parse --git-dir >/dev/null 2>&1 || refuse "this is no git checkout"
git remote get-url "$remote" >/dev/null 2>&1 || refuse "there is no remote \`$remote\`; add it, or name another in RELEASE_REMOTE"

# --- what is released
old="$(scripts/version.sh show)"
[[ "$old" =~ ^([0-9]+)\.([0-9]+)\.([0-9]+)$ ]] || refuse "the version in Cargo.toml is \`$old\`, expected one like 1.2.3"
major="${BASH_REMATCH[1]}" minor="${BASH_REMATCH[2]}" patch="${BASH_REMATCH[3]}"
case "$type" in
  patch) new="$major.$minor.$((patch + 1))" ;;
  minor) new="$major.$((minor + 1)).0" ;;
  major) new="$((major + 1)).0.0" ;;
esac
tag="v$new"

on="$(git symbolic-ref --short -q HEAD || echo 'no branch')"
[ "$on" = "$branch" ] || refuse "this checkout is on $on; releases are made from $branch (git switch $branch, or RELEASE_BRANCH)"
changed="$(git status --porcelain)"
[ -z "$changed" ] || refuse "there are changes that are not committed; commit or stash them: $(head -n 3 <<<"$changed" | tr '\n' ' ')"
head="$(git rev-parse HEAD)"

remote_refs="$(git ls-remote "$remote" "refs/heads/$branch" "refs/tags/$tag" "refs/tags/$tag^{}")" ||
  { say "$remote does not answer; nothing was changed"; exit 3; }
remote_ref() { awk -v ref="$1" '$2 == ref { print $1 }' <<<"$remote_refs"; }
remote_head="$(remote_ref "refs/heads/$branch")"
remote_tag="$(remote_ref "refs/tags/$tag^{}")"
[ -n "$remote_tag" ] || remote_tag="$(remote_ref "refs/tags/$tag")"

# A release of this very commit that was made and not finished: at the remote, or (--no-push-tags) here.
made=
is_made_from_head() { [ "$(git rev-parse -q --verify "$1^" 2>/dev/null)" = "$head" ]; }
if [ -n "$remote_tag" ]; then
  git fetch -q --no-tags "$remote" "refs/tags/$tag"
  is_made_from_head "$remote_tag" || refuse "the tag $tag is at $remote already, of another commit; is this checkout behind? (git pull)"
  made="$remote_tag"
elif local_tag="$(git rev-parse -q --verify "refs/tags/$tag^{commit}")"; then
  if [ "$push" = true ] || ! is_made_from_head "$local_tag"; then
    refuse "the tag $tag is here already; delete it if nobody has it (git tag -d $tag)"
  fi
  made="$local_tag"
fi
if [ -z "$made" ] && [ -n "$remote_head" ] && [ "$remote_head" != "$head" ]; then
  if git merge-base --is-ancestor "$head" "$remote_head" 2>/dev/null || ! git cat-file -e "$remote_head" 2>/dev/null; then
    refuse "$remote has commits on $branch that are not here; pull them first (git pull --ff-only)"
  fi
fi
scripts/version.sh check || refuse "the files do not agree on the version; see above"

sign_commit=() sign_tag=(--annotate)
if [ -n "$(git config user.signingkey || true)" ]; then sign_commit=(--gpg-sign) sign_tag=(--sign); fi
work="$(pwd)/target/release-of-$tag"
url="$(git remote get-url --push "$remote")"
[ ! -d "$url" ] || url="$(cd "$url" && pwd)"

if [ "$dry_run" = true ]; then
  step "$old becomes $new"
  show() { printf '%q ' "$@" | sed 's/ $//'; echo; }
  if [ -z "$made" ]; then
    [ "$tests" = false ] || show make lint test
    show git clone --quiet --no-tags --branch "$branch" . "$work"
    show scripts/version.sh set "$new"
    show git commit --all "${sign_commit[@]}" --message "Release $new"
    show git tag "${sign_tag[@]}" --message "Release $new" "$tag"
  fi
  [ "$build" = false ] || show scripts/build.sh --version "$new"
  if [ "$push" = true ]; then
    [ -n "$made" ] || show git push --atomic "$url" "HEAD:refs/heads/$branch" "refs/tags/$tag"
    if [ "$build" = true ] && [ -n "$registry" ]; then show scripts/build.sh --version "$new" --registry "$registry" --push; fi
    [ "$github" = false ] || show gh release create "$tag" --verify-tag --title "$new" --notes-file "$work.notes"
  fi
  show git merge --ff-only "$tag"
  exit 0
fi

# What [Unreleased] has becomes the new version's section.
write_changelog() { # file, version, date
  awk -v version="$2" -v date="$3" '
    /^## \[Unreleased\]/ && !done { print; print ""; print "## [" version "] - " date; done = 1; next }
    { print }
    END { if (!done) exit 4 }
  ' "$1" >"$1.new" || { rm -f "$1.new"; return 1; }
  mv "$1.new" "$1"
}
section() { # file, version: what the changelog says of it
  awk -v start="## [$2]" 'index($0, start) == 1 { found = 1; next } /^## \[/ { found = 0 } found' "$1"
}

trap 'rm -rf "$work" "$work.notes"' EXIT
rm -rf "$work"
mkdir -p "$(dirname "$work")"

if [ -z "$made" ]; then
  if [ "$tests" = true ]; then
    step "tests"
    make lint test || fail "the tests do not pass"
  fi
  step "version $new, in $work"
  # Of the branch as it is here; its objects are its own, whatever happens to this checkout meanwhile.
  git clone -q --no-hardlinks --no-tags --branch "$branch" . "$work"
  (
    cd "$work"
    # As this checkout has it, which a clone does not take over.
    for key in user.name user.email user.signingkey gpg.format gpg.program gpg.ssh.program; do
      found="$(git -C "$OLDPWD" config "$key" || true)"
      [ -z "$found" ] || git config "$key" "$found"
    done
    VERSION_ROOT="$work" scripts/version.sh set "$new"
    write_changelog CHANGELOG.md "$new" "$(date -u +%Y-%m-%d)" || { say "CHANGELOG.md has no section [Unreleased]"; exit 2; }
    [ -n "$(section CHANGELOG.md "$new" | tr -d '[:space:]')" ] || { say "CHANGELOG.md says nothing under [Unreleased]; write what users will notice"; exit 2; }
    git commit -q --all "${sign_commit[@]}" --message "Release $new"
    git tag "${sign_tag[@]}" --message "Release $new" "$tag"
  )
else
  step "$tag was made before; going on with it"
  git clone -q --no-hardlinks --no-tags . "$work"
  git -C "$work" fetch -q --no-tags "$(pwd)" "$made"
  git -C "$work" checkout -q "$made"
fi
section "$work/CHANGELOG.md" "$new" >"$work.notes"

if [ "$build" = true ]; then
  step "images"
  (cd "$work" && PUSH_IMAGE=false scripts/build.sh --version "$new" ${registry:+--registry "$registry"}) || fail "the images do not build"
  [ ! -d "$work/reports" ] || { mkdir -p reports && cp -r "$work/reports/." reports/; }
fi

if [ "$push" = true ]; then
  if [ -z "$made" ]; then
    step "commit and tag to $remote"
    git -C "$work" push -q --atomic "$url" "HEAD:refs/heads/$branch" "refs/tags/$tag" ||
      fail "$remote did not take commit and tag"
  fi
  again="commit and tag are at $remote; run the same command again to go on from here"
  if [ "$build" = true ] && [ -n "$registry" ]; then
    step "images to $registry"
    (cd "$work" && SCAN_SECURITY=false scripts/build.sh --version "$new" --registry "$registry" --push) || { say "the images were not pushed; $again"; exit 1; }
  fi
  if [ "$github" = true ]; then
    step "release on GitHub"
    gh release view "$tag" >/dev/null 2>&1 || gh release create "$tag" --verify-tag --title "$new" --notes-file "$work.notes" ||
      { say "GitHub did not take the release; $again"; exit 1; }
  fi
fi

step "this checkout"
# The tag first: should this be interrupted, it says that the commit exists.
if [ -z "$made" ]; then git fetch -q --no-tags "$work" "refs/tags/$tag:refs/tags/$tag"; fi
if [ -n "$remote_tag" ]; then git fetch -q --no-tags "$remote" "refs/tags/$tag:refs/tags/$tag"; fi
git merge -q --ff-only "$tag"
if [ "$push" = true ]; then
  git update-ref "refs/remotes/$remote/$branch" "$tag^{commit}"
  say "$new is released"
else
  say "$new is committed and tagged here; push it with: git push --atomic $remote $branch $tag"
fi
