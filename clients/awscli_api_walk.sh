#!/usr/bin/env bash
# Calls every operation of a running Syncline with an unmodified AWS CLI: makes, reads, lists, changes, tags, deletes.
#
#   awscli_api_walk.sh --service NAME --provider-endpoint URL --syncline PROGRAM
#
# The steps are those of boto3_api_walk.py with fewer resources, because each call starts a Python. The CLI gets the endpoint, the region
# and the credentials from the environment alone, in its own variables; it is that of the test environment,
# $SYNCLINE_TEST_ENV. It does not tell HTTP statuses: what is checked is its exit status and its message.
set -euo pipefail

fail() {
  echo "awscli_api_walk.sh: $*" >&2
  exit 1
}

service='' provider_endpoint='' syncline=''
while (($#)); do
  case $1 in
    --service | --provider-endpoint | --syncline)
      (($# > 1)) || fail "$1 lacks its value"
      variable=${1#--}
      printf -v "${variable//-/_}" %s "$2"
      shift 2
      ;;
    *) fail "$1: unknown argument" ;;
  esac
done
[[ -n $service && -n $provider_endpoint && -n $syncline ]] || fail "an argument is missing"

venv=${SYNCLINE_TEST_ENV:?says where the test environment is}/venv
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
nothing=00000000-1111-2222-3333-444444444444
vpc='{"VpcId": "vpc-0a1b2c3d4e5f60718", "SubnetIds": ["subnet-0a1b2c3d4e5f60718"],
  "SecurityGroupIds": ["sg-0a1b2c3d4e5f60718"]}'
sync=(--sync-type CFN_STACK_SYNC)

# Runs one operation and prints its answer, or the part of it that --query asks for, as text.
aws() {
  echo "$1" >>"$here/called"
  "$venv/bin/aws" --output text "$service" "$@" || fail "$1 failed with status $?"
}

# check WHAT ACTUAL EXPECTED
check() {
  [[ $2 == "$3" ]] || fail "$1 is '$2', not '$3'"
}

# refused CODE STATUS OPERATION …: expects the error; STATUS is what the model says, which the CLI does not show.
refused() {
  refused_with '' "$@"
}

# refused_with TEXT CODE STATUS OPERATION …: the same, with this in its message.
refused_with() {
  local text=$1 code=$2 http=$3 output status=0 name
  shift 3
  echo "$1" >>"$here/called"
  output=$("$venv/bin/aws" --output text "$service" "$@" 2>&1) || status=$?
  name=$(operation "$1")
  # What version 1 of the CLI ends with when the service answers with an error.
  check "$1: the exit status" "$status" 255
  [[ $output == *"An error occurred ($code) when calling the $name operation"*": "?* && $output == *"$text"* ]] ||
    fail "$1 answered '$output' where $code is due"
  echo "$code $http" >>"$here/refused"
}

# The operation of a command: get-host is GetHost.
operation() {
  local word name='' words
  IFS=- read -ra words <<<"$1"
  for word in "${words[@]}"; do name+=${word^}; done
  echo "$name"
}

# check_list OPERATION QUERY EXPECTED …: lists in pages of two, and compares what is there, in any order.
check_list() {
  local command=$1 member=$2 expected=$3 token='' page size rest pages=() listed=()
  shift 3
  while true; do
    page=$(aws "$command" "$@" --max-results 2 ${token:+--next-token "$token"} --query "[[NextToken], $member]")
    { read -r token && read -ra rest || true; } <<<"$page"
    pages+=("${#rest[@]}")
    listed+=("${rest[@]}")
    rest=()
    [[ $token != None ]] || break
  done
  check "$command: what is listed" "$(sorted "${listed[@]}")" "$(sorted $expected)"
  size=${#listed[@]}
  check "$command: the number of pages" "${#pages[@]}" "$((size ? (size + 1) / 2 : 1))"
}

sorted() {
  printf '%s\n' "$@" | sort
}

# The tags of a resource as `key=value` words in order.
tags_of() {
  aws list-tags-for-resource --resource-arn "$1" --query "Tags[].[join('=', [Key, Value])]" | sort | xargs
}

hosts=() connections=() links=() link_arns=() syncs=(stack-0 stack-1 stack-2)

make_hosts() {
  local number kind input arn missing command
  for number in 0 1 2; do
    if ((number == 0)); then kind=Git; else kind=GitHubEnterpriseServer; fi
    # As JSON, because version 1 of the AWS CLI replaces an argument that is a URL by what it fetches from there.
    input="{\"Name\": \"host-$number\", \"ProviderType\": \"$kind\", \"ProviderEndpoint\": \"$provider_endpoint\"
      $( ((number < 2)) || echo ", \"VpcConfiguration\": $vpc")}"
    arn=$(aws create-host --cli-input-json "$input" --tags Key=team,Value=web "Key=number,Value=$number" --query HostArn)
    [[ $arn =~ ^arn:aws:$service:[a-z0-9-]+:[0-9]{12}:host/host-$number-[0-9a-f]{8}$ ]] || fail "the HostArn is '$arn'"
    check "the new host" "$(aws get-host --host-arn "$arn" \
      --query '[Name, Status, ProviderType, ProviderEndpoint] | join(`,`, @)')" \
      "host-$number,PENDING,$kind,$provider_endpoint"
    hosts+=("$arn")
  done
  check "the new host's VPC" "$(aws get-host --host-arn "$arn" --query VpcConfiguration.VpcId)" vpc-0a1b2c3d4e5f60718
  check_list list-hosts 'Hosts[].HostArn' "${hosts[*]}"

  input="{\"HostArn\": \"${hosts[1]}\", \"ProviderEndpoint\": \"$provider_endpoint/moved\", \"VpcConfiguration\": $vpc}"
  aws update-host --cli-input-json "$input"
  aws update-host --host-arn "${hosts[1]}"
  check "the updated host" "$(aws get-host --host-arn "${hosts[1]}" \
    --query '[Name, ProviderEndpoint, VpcConfiguration.VpcId] | join(`,`, @)')" \
    "host-1,$provider_endpoint/moved,vpc-0a1b2c3d4e5f60718"
  missing=${hosts[0]%????????}00000000
  for command in get-host update-host delete-host; do
    refused ResourceNotFoundException 404 "$command" --host-arn "$missing"
  done
}

make_connections() {
  local number kinds arn long
  kinds=("--host-arn ${hosts[0]}" "--host-arn ${hosts[0]}" "--provider-type GitHub" "--provider-type Bitbucket")
  for number in 0 1 2 3; do
    # shellcheck disable=SC2086 # two words
    arn=$(aws create-connection --connection-name "connection-$number" ${kinds[number]} --tags Key=team,Value=web \
      --query ConnectionArn)
    [[ $arn =~ ^arn:aws:$service:[a-z0-9-]+:[0-9]{12}:connection/[0-9a-f-]{36}$ ]] || fail "the ConnectionArn is '$arn'"
    connections+=("$arn")
  done
  check "the new connection" "$(aws get-connection --connection-arn "$arn" \
    --query 'Connection.[ConnectionName, ConnectionStatus] | join(`,`, @)')" connection-3,PENDING
  check_list list-connections 'Connections[].ConnectionArn' "${connections[*]}"
  check_list list-connections 'Connections[].ConnectionArn' "${connections[2]}" --provider-type-filter GitHub
  check_list list-connections 'Connections[].ConnectionArn' "${connections[*]:0:2}" --host-arn-filter "${hosts[0]}"
  check_list list-connections 'Connections[].ConnectionArn' '' --host-arn-filter "${hosts[1]}"

  refused_with connection-2 ValidationException 400 create-connection --connection-name connection-2 \
    --provider-type GitHub
  long=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
  refused_with "1 validation error detected: Value '$long' at 'connectionName' failed to satisfy constraint: Member \
must have length less than or equal to 32" ValidationException 400 create-connection --connection-name "$long" \
    --provider-type GitHub
  refused ResourceUnavailableException 400 delete-host --host-arn "${hosts[0]}"

  # The handshake, which has no AWS operation.
  for arn in "${connections[@]:0:2}"; do
    "$syncline" connection authorize "$arn" --no-token >/dev/null || fail "syncline connection authorize failed"
  done
  check "the authorized connection" "$(aws get-connection --connection-arn "$arn" \
    --query Connection.ConnectionStatus)" AVAILABLE
}

make_links() {
  local number account key command on_first link
  on_first=(--owner-id acme --connection-arn "${connections[0]}")
  refused InvalidInputException 400 create-repository-link --owner-id acme --repository-name none \
    --connection-arn "${connections[2]}"
  for number in 0 1 2; do
    read -ra link < <(aws create-repository-link "${on_first[@]}" --repository-name "repository-$number" \
      --tags Key=team,Value=web --query 'RepositoryLinkInfo.[RepositoryLinkId, RepositoryLinkArn]')
    links+=("${link[0]}") link_arns+=("${link[1]}")
    [[ ${link_arns[number]} == "arn:aws:$service:"*":repository-link/${links[number]}" ]] ||
      fail "the RepositoryLinkArn is '${link_arns[number]}'"
  done
  check_list list-repository-links 'RepositoryLinks[].RepositoryLinkId' "${links[*]}"
  refused ResourceAlreadyExistsException 409 create-repository-link "${on_first[@]}" --repository-name repository-1

  account=$(cut -d: -f5 <<<"${connections[0]}")
  key=arn:aws:kms:$AWS_DEFAULT_REGION:$account:key/$nothing
  check "the moved link's connection" "$(aws update-repository-link --repository-link-id "${links[0]}" \
    --connection-arn "${connections[1]}" --encryption-key-arn "$key" --query RepositoryLinkInfo.ConnectionArn)" \
    "${connections[1]}"
  check "the moved link" "$(aws get-repository-link --repository-link-id "${links[0]}" \
    --query 'RepositoryLinkInfo.[ConnectionArn, EncryptionKeyArn] | join(`,`, @)')" "${connections[1]},$key"
  refused InvalidInputException 400 update-repository-link --repository-link-id "${links[0]}" \
    --connection-arn "${connections[2]}"
  for command in get-repository-link update-repository-link delete-repository-link; do
    refused ResourceNotFoundException 404 "$command" --repository-link-id "$nothing"
  done
}

make_syncs() {
  local name role key of_link
  role=arn:aws:iam::$(cut -d: -f5 <<<"${connections[0]}"):role/sync
  of_link=("${sync[@]}" --repository-link-id "${links[0]}")
  for name in "${syncs[@]}"; do
    check "the new sync configuration" "$(aws create-sync-configuration "${of_link[@]}" --branch main \
      --config-file "deploy/$name.yaml" --resource-name "$name" --role-arn "$role" \
      --query SyncConfiguration.ResourceName)" "$name"
  done
  check "the sync configuration's file" "$(aws get-sync-configuration "${sync[@]}" --resource-name "$name" \
    --query SyncConfiguration.ConfigFile)" "deploy/$name.yaml"
  check_list list-sync-configurations 'SyncConfigurations[].ResourceName' "${syncs[*]}" "${of_link[@]}"
  check "the sync definitions" "$(aws list-repository-sync-definitions "${of_link[@]}" \
    --query 'sort(RepositorySyncDefinitions[].Target)' | xargs)" "${syncs[*]}"
  refused ResourceAlreadyExistsException 409 create-sync-configuration "${of_link[@]}" --branch main \
    --config-file a.yaml --resource-name stack-0 --role-arn "$role"

  key=("${sync[@]}" --resource-name stack-0)
  aws update-sync-configuration "${key[@]}" --branch release --config-file deploy/other.yaml \
    --trigger-resource-update-on FILE_CHANGE --publish-deployment-status ENABLED >/dev/null
  check "the updated sync configuration" "$(aws get-sync-configuration "${key[@]}" --query \
    'SyncConfiguration.[Branch, ConfigFile, TriggerResourceUpdateOn, PublishDeploymentStatus] | join(`,`, @)')" \
    release,deploy/other.yaml,FILE_CHANGE,ENABLED

  # There is no repository, and nobody follows that branch: there is nothing to tell.
  refused ResourceNotFoundException 404 get-resource-sync-status "${key[@]}"
  refused ResourceNotFoundException 404 get-repository-sync-status "${of_link[@]}" --branch unfollowed
  check "the blocker summary's resource" "$(aws get-sync-blocker-summary "${key[@]}" \
    --query SyncBlockerSummary.ResourceName)" stack-0
  refused SyncBlockerDoesNotExistException 404 update-sync-blocker "${key[@]}" --id "$nothing" --resolved-reason mended
  refused ResourceNotFoundException 404 update-sync-configuration "${sync[@]}" --resource-name stack-9
}

# The tags of one resource, made with `team`: merged, replaced, removed.
tag() {
  local arn=$1
  check "the tags that the resource was made with" "$(tags_of "$arn")" team=web
  aws tag-resource --resource-arn "$arn" --tags Key=team,Value=api Key=cost,Value=
  check "the merged tags" "$(tags_of "$arn")" "cost= team=api"
  aws untag-resource --resource-arn "$arn" --tag-keys cost never-set
  check "the tags that are left" "$(tags_of "$arn")" team=api
  refused_with aws: ValidationException 400 tag-resource --resource-arn "$arn" --tags Key=aws:team,Value=web
}

# As many tags as a resource may have, and one more; clients take their time to believe that, and ask again.
fill() {
  local arn=$1 number many keys
  for ((number = 0; number < 198; number += 1)); do
    many+=("Key=key-$number,Value=value")
    keys+=("key-$number")
  done
  aws tag-resource --resource-arn "$arn" --tags "${many[@]}"
  refused LimitExceededException 429 tag-resource --resource-arn "$arn" --tags Key=more,Value=one
  aws untag-resource --resource-arn "$arn" --tag-keys "${keys[@]}"
  check "the tags that are left" "$(tags_of "$arn")" "number=2 team=web"
}

delete_all() {
  local name arn link_id
  refused SyncConfigurationStillExistsException 409 delete-repository-link --repository-link-id "${links[0]}"
  for name in "${syncs[@]}"; do aws delete-sync-configuration "${sync[@]}" --resource-name "$name"; done
  # Again: there is nothing to delete, which is no error.
  aws delete-sync-configuration "${sync[@]}" --resource-name stack-0
  refused ResourceNotFoundException 404 get-sync-configuration "${sync[@]}" --resource-name stack-0
  for link_id in "${links[@]}"; do aws delete-repository-link --repository-link-id "$link_id"; done
  for arn in "${connections[@]:0:2}"; do aws delete-connection --connection-arn "$arn"; done
  refused ResourceNotFoundException 404 get-connection --connection-arn "${connections[0]}"
  refused ResourceNotFoundException 404 delete-connection --connection-arn "${connections[0]}"
  aws delete-host --host-arn "${hosts[0]}"
  refused ResourceNotFoundException 404 get-host --host-arn "${hosts[0]}"
  refused ResourceNotFoundException 404 list-tags-for-resource --resource-arn "${link_arns[0]}"
  refused ResourceNotFoundException 404 tag-resource --resource-arn "${hosts[0]}" --tags Key=team,Value=web
  refused ResourceNotFoundException 404 untag-resource --resource-arn "${connections[0]}" --tag-keys team
  check_list list-connections 'Connections[].ConnectionArn' "${connections[*]:2}"
  check_list list-repository-links 'RepositoryLinks[].RepositoryLinkId' ''
}

# Prints the lines of a file as the elements of a JSON array, each once.
array() {
  sort -u "$1" | sed 's/.*/"&"/' | paste -sd,
}

make_hosts
make_connections
make_links
make_syncs
tag "${link_arns[2]}"
fill "${hosts[2]}"
delete_all
while read -r command; do operation "$command"; done < <(sort -u "$here/called") >"$here/operations"
echo "{\"called\": [$(array "$here/operations")], \"refused\": [$(array "$here/refused")]}"
