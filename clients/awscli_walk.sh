#!/usr/bin/env bash
# Walks a running Syncline with an unmodified AWS CLI, from the first host to the last delete.
#
#   awscli_walk.sh --endpoint URL [--service NAME] [--region REGION] COMMAND …
#
#   setup     --state FILE --name N --provider-endpoint URL --owner O --repository R [--branch B]
#             --config-file F --stack S --role-arn ARN [--username U]
#   wait      --state FILE [--expect SUCCEEDED|FAILED] [--sha SHA] [--initial-sha SHA] [--last-good-sha SHA]
#             [--timeout SECONDS]
#   teardown  --state FILE
#
# The commands, the state file and the exit status are those of boto3_walk.py, whose checks are the thorough ones.
# The AWS CLI is that of the test environment, $SYNCLINE_TEST_ENV; credentials and SYNCLINE_WALK_TOKEN come from the
# environment too.
set -euo pipefail

fail() {
  echo "awscli_walk.sh ${command-}: $*" >&2
  exit 1
}

endpoint='' service=codeconnections region=us-east-1 command=''
state='' name='' provider_endpoint='' owner='' repository='' branch=main config_file='' stack='' role_arn='' username=''
expect=SUCCEEDED sha='' initial_sha='' last_good_sha='' timeout=180
while (($#)); do
  case $1 in
    setup | wait | teardown)
      command=$1
      shift
      ;;
    --endpoint | --service | --region | --state | --name | --provider-endpoint | --owner | --repository | --branch | \
      --config-file | --stack | --role-arn | --username | --expect | --sha | --initial-sha | --last-good-sha | --timeout)
      (($# > 1)) || fail "$1 lacks its value"
      variable=${1#--}
      printf -v "${variable//-/_}" %s "$2"
      shift 2
      ;;
    *) fail "$1: unknown argument" ;;
  esac
done
[[ -n $endpoint ]] || fail "--endpoint is missing"
[[ -n $state ]] || fail "--state is missing"

venv=${SYNCLINE_TEST_ENV:?says where the test environment is}/venv
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# A proxy of the machine's must not see what goes to loopback.
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost AWS_EC2_METADATA_DISABLED=true

# Runs one operation and prints its answer, or the part of it that --query asks for, as text.
aws() {
  "$venv/bin/aws" --endpoint-url "$endpoint" --region "$region" --output text "$service" "$@" ||
    fail "$1 failed with status $?"
}

# check WHAT ACTUAL EXPECTED
check() {
  [[ $2 == "$3" ]] || fail "$1 is '$2', not '$3'"
}

# refused CODE OPERATION …: expects the error.
refused() {
  local code=$1 output
  shift
  if output=$("$venv/bin/aws" --endpoint-url "$endpoint" --region "$region" "$service" "$@" 2>&1); then
    fail "$1 answered '$output' where $code is due"
  fi
  [[ $output == *"($code)"* ]] || fail "$1 answered '$output' where $code is due"
}

# Prints a JSON object of names and values given in turn.
json() {
  "$venv/bin/python" -I -c \
    'import json, sys; print(json.dumps(dict(zip(sys.argv[1::2], sys.argv[2::2])), indent=2))' "$@"
}

# Prints one value of the state file.
saved() {
  "$venv/bin/python" -I -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$state" "$1"
}

setup() {
  local required host_arn connection_arn link_id status
  for required in name provider_endpoint owner repository config_file stack role_arn; do
    [[ -n ${!required} ]] || fail "--${required//_/-} is missing"
  done
  # As JSON, because version 1 of the AWS CLI replaces an argument that is a URL by what it fetches from there.
  host_arn=$(aws create-host --query HostArn --cli-input-json \
    "$(json Name "$name" ProviderType Git ProviderEndpoint "$provider_endpoint")")
  check "the new host's endpoint" "$(aws get-host --host-arn "$host_arn" --query ProviderEndpoint)" "$provider_endpoint"

  connection_arn=$(aws create-connection --connection-name "$name" --host-arn "$host_arn" --query ConnectionArn)
  status=$(aws get-connection --connection-arn "$connection_arn" --query Connection.ConnectionStatus)
  check "the new connection's status" "$status" PENDING
  # The handshake is no AWS operation.
  "$venv/bin/python" -I "$here/boto3_walk.py" --endpoint "$endpoint" --service "$service" --region "$region" \
    authorize --connection-arn "$connection_arn" --username "$username" >/dev/null
  status=$(aws list-connections --host-arn-filter "$host_arn" --query 'Connections[].ConnectionStatus')
  check "the authorized connection's status" "$status" AVAILABLE
  check "the host's status" "$(aws list-hosts --query "Hosts[?HostArn=='$host_arn'].Status")" AVAILABLE

  link_id=$(aws create-repository-link --connection-arn "$connection_arn" --owner-id "$owner" \
    --repository-name "$repository" --query RepositoryLinkInfo.RepositoryLinkId)
  check "the link's repository" "$(aws get-repository-link --repository-link-id "$link_id" \
    --query RepositoryLinkInfo.RepositoryName)" "$repository"
  check "the listed link" "$(aws list-repository-links \
    --query "RepositoryLinks[?RepositoryLinkId=='$link_id'].OwnerId")" "$owner"

  check "the new sync configuration's stack" "$(aws create-sync-configuration --branch "$branch" \
    --config-file "$config_file" --repository-link-id "$link_id" --resource-name "$stack" --role-arn "$role_arn" \
    --sync-type CFN_STACK_SYNC --query SyncConfiguration.ResourceName)" "$stack"
  check "the sync configuration's file" "$(aws get-sync-configuration --sync-type CFN_STACK_SYNC \
    --resource-name "$stack" --query SyncConfiguration.ConfigFile)" "$config_file"
  check "the listed sync configuration" "$(aws list-sync-configurations --repository-link-id "$link_id" \
    --sync-type CFN_STACK_SYNC --query 'SyncConfigurations[].ResourceName')" "$stack"

  json host_arn "$host_arn" connection_arn "$connection_arn" repository_link_id "$link_id" owner "$owner" \
    repository "$repository" branch "$branch" stack "$stack" config_file "$config_file" | tee "$state"
}

# Prints status, synced commit, desired commit and the type of the last event of the newest attempt.
latest() {
  local output
  if output=$("$venv/bin/aws" --endpoint-url "$endpoint" --region "$region" --output text "$service" \
    get-resource-sync-status --sync-type CFN_STACK_SYNC --resource-name "$stack" \
    --query '[LatestSync.Status, LatestSync.TargetRevision.Sha, DesiredState.Sha, LatestSync.Events[-1].Type]' 2>&1); then
    echo "$output"
  else
    # There has been no attempt yet.
    [[ $output == *"(ResourceNotFoundException)"* ]] || fail "get-resource-sync-status answered '$output'"
    echo "NONE NONE NONE NONE"
  fi
}

wait_for_the_end() {
  local link_id status at desired event seen active initial good events reason
  stack=$(saved stack) link_id=$(saved repository_link_id) branch=$(saved branch)
  SECONDS=0
  while true; do
    seen=$(latest)
    read -r status at desired event <<<"$seen"
    if [[ $status == SUCCEEDED || $status == FAILED ]] && [[ $event != SUPERSEDED && $at == "${sha:-$desired}" ]]; then
      break
    fi
    ((SECONDS < timeout)) || fail "no sync of ${sha:-the desired commit} ended within $timeout s; last seen: $seen"
    sleep 0.25
  done
  check "the sync's status" "$status" "$expect"
  read -r initial good < <(aws get-resource-sync-status --sync-type CFN_STACK_SYNC --resource-name "$stack" \
    --query '[LatestSync.InitialRevision.Sha, LatestSuccessfulSync.TargetRevision.Sha]')
  check "the commit that the sync started from" "$initial" "${initial_sha:-$initial}"
  check "the newest commit that succeeded" "$good" "${last_good_sha:-$good}"
  events=$(aws get-resource-sync-status --sync-type CFN_STACK_SYNC --resource-name "$stack" \
    --query 'LatestSync.Events[].Type')
  reason=$(aws get-sync-blocker-summary --sync-type CFN_STACK_SYNC --resource-name "$stack" \
    --query "(SyncBlockerSummary.LatestBlockers[?Status=='ACTIVE'].CreatedReason)[0] || ''")
  active=$(aws get-sync-blocker-summary --sync-type CFN_STACK_SYNC --resource-name "$stack" \
    --query "length(SyncBlockerSummary.LatestBlockers[?Status=='ACTIVE'])")
  if [[ $expect == SUCCEEDED ]]; then
    check "the number of active blockers" "$active" 0
    check "the newest commit that succeeded" "$good" "$at"
    check "the repository sync's status" "$(aws get-repository-sync-status --branch "$branch" \
      --repository-link-id "$link_id" --sync-type CFN_STACK_SYNC --query LatestSync.Status)" SUCCEEDED
  else
    ((active > 0)) || fail "the sync failed, but no blocker is ACTIVE"
  fi
  check "the sync definition" "$(aws list-repository-sync-definitions --repository-link-id "$link_id" \
    --sync-type CFN_STACK_SYNC --query "RepositorySyncDefinitions[?Target=='$stack'].Branch")" "$branch"
  json status "$status" sha "$at" desired_sha "$desired" initial_sha "$initial" last_good_sha "$good" \
    active_blockers "$active" events "$events" reason "$reason"
}

teardown() {
  local host_arn connection_arn link_id
  stack=$(saved stack) link_id=$(saved repository_link_id)
  host_arn=$(saved host_arn) connection_arn=$(saved connection_arn)
  refused SyncConfigurationStillExistsException delete-repository-link --repository-link-id "$link_id"
  refused ResourceUnavailableException delete-host --host-arn "$host_arn"
  aws delete-sync-configuration --sync-type CFN_STACK_SYNC --resource-name "$stack"
  refused ResourceNotFoundException get-sync-configuration --sync-type CFN_STACK_SYNC --resource-name "$stack"
  aws delete-repository-link --repository-link-id "$link_id"
  refused ResourceNotFoundException get-repository-link --repository-link-id "$link_id"
  aws delete-connection --connection-arn "$connection_arn"
  refused ResourceNotFoundException get-connection --connection-arn "$connection_arn"
  aws delete-host --host-arn "$host_arn"
  refused ResourceNotFoundException get-host --host-arn "$host_arn"
  json stack "$stack" repository_link_id "$link_id" connection_arn "$connection_arn" host_arn "$host_arn"
}

case $command in
  setup) setup ;;
  wait) wait_for_the_end ;;
  teardown) teardown ;;
  *) fail "a command is missing: setup, wait or teardown" ;;
esac
